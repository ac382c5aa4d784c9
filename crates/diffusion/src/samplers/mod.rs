//! The samplers, one file each: functions that own their whole loop, in the coordinates x = x0 + sigma eps.
//! Each cites its equation. Leaves out the registry: see `sampler`.

pub mod ddim;
pub mod ddpm;
pub mod dpm2;
pub mod dpmpp_2m;
pub mod dpmpp_2m_sde;
pub mod dpmpp_2s_ancestral;
pub mod edm;
pub mod euler;
pub mod euler_ancestral;
pub mod heun;
pub mod lcm;
pub mod lms;
pub mod pndm;
pub mod step;
pub mod unipc;
