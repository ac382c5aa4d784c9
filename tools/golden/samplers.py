"""Golden values for crates/diffusion from the reference implementation (diffusers 0.42, torch CPU).

    python tools/golden/samplers.py testdata/diffusion

The model is x * t / (t + 1) on the variance-preserving input, its output read as eps (or v). The model is
always called with the fractional timestep of the scheduler's current sigma, linear in log sigma, so that
spacings whose sigmas fall between timesteps can be compared too. Noise comes from one torch generator per
image, seeds 0, 1, 2, 3. LMS wants scipy.
"""

import pathlib
import sys

import numpy as np
import torch
import diffusers as d

SHAPE = (4, 3, 8, 8)
LINEAR = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


def start():
    k = torch.arange(768, dtype=torch.float32).reshape(3, 8, 8, 4) / 768
    return k.permute(3, 0, 1, 2).contiguous()


def fractional_timestep(alphas_cumprod, sigma):
    table = ((1 - alphas_cumprod.double()) / alphas_cumprod.double()).sqrt().log().numpy()
    return float(np.interp(np.log(float(sigma)), table, np.arange(len(table))))


def model(x, t):
    return x * t / (t + 1)


def in_sigma(scheduler, steps, seeds=False):
    """Schedulers that keep `sigmas`; those in exploding coordinates scale their own input and tell the
    fractional timestep, the others round it."""
    scheduler.set_timesteps(steps)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    exploding = not hasattr(scheduler.config, "solver_order")
    x = start() * (scheduler.sigmas[0] if exploding else 1.0)
    for i, t in enumerate(scheduler.timesteps):
        time = t if exploding else fractional_timestep(scheduler.alphas_cumprod, scheduler.sigmas[i])
        output = model(scheduler.scale_model_input(x, t), time)
        noise = {"generator": generators} if seeds else {}
        x = scheduler.step(output, t, x, **noise).prev_sample
    return x


def in_timesteps(scheduler, steps, seeds=False, **options):
    """Schedulers of whole timesteps in variance-preserving coordinates."""
    scheduler.set_timesteps(steps)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    x = start()
    for t in scheduler.timesteps:
        noise = {"generator": generators} if seeds else {}
        x = scheduler.step(model(x, t), t, x, **noise, **options).prev_sample
    return x


def flow(steps, shift):
    scheduler = d.FlowMatchEulerDiscreteScheduler(shift=1.0)
    times = np.arange(steps, 0, -1) / steps
    scheduler.set_timesteps(sigmas=shift * times / (1 + (shift - 1) * times))
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t), t, x).prev_sample
    return x


def cases():
    karras = dict(LINEAR, use_karras_sigmas=True)
    exponential = dict(LINEAR, use_exponential_sigmas=True)
    zero = dict(final_sigmas_type="zero")
    yield "euler-karras", in_sigma(d.EulerDiscreteScheduler(**karras), 10)
    yield "euler-exponential", in_sigma(d.EulerDiscreteScheduler(**exponential), 10)
    yield "heun-karras", in_sigma(d.HeunDiscreteScheduler(**karras), 10)
    yield "dpm2-karras", in_sigma(d.KDPM2DiscreteScheduler(**karras), 10)
    yield "lms-karras", in_sigma(d.LMSDiscreteScheduler(**karras), 10)
    ancestral = d.EulerAncestralDiscreteScheduler(**LINEAR, timestep_spacing="trailing")
    yield "euler-ancestral-trailing", in_sigma(ancestral, 10, seeds=True)
    multistep = d.DPMSolverMultistepScheduler
    yield "dpmpp-2m-karras", in_sigma(multistep(**karras, **zero, euler_at_final=True), 10)
    for correction in ("midpoint", "heun"):
        sde = multistep(
            **karras, **zero, euler_at_final=True, algorithm_type="sde-dpmsolver++", solver_type=correction
        )
        yield f"dpmpp-2m-sde-{correction}", in_sigma(sde, 10, seeds=True)
    # Every second exponential level is halfway: 11 steps are 2S with 5 steps, no noise, and one empty step.
    single = d.DPMSolverSinglestepScheduler(**exponential, solver_order=2, final_sigmas_type="sigma_min")
    yield "dpmpp-2s-exponential", in_sigma(single, 11)
    for order in (1, 2, 3):
        for variant in ("bh1", "bh2"):
            # The reference divides by infinity when bh1 ends at zero, and corrects once more when its levels,
            # spaced by sigma, end at their lowest twice.
            kind = dict(LINEAR, final_sigmas_type="sigma_min") if variant == "bh1" else dict(karras, **zero)
            unipc = d.UniPCMultistepScheduler(**kind, solver_order=order, solver_type=variant)
            yield f"unipc-{order}-{variant}", in_sigma(unipc, 10)
    plain = dict(LINEAR, timestep_spacing="trailing", clip_sample=False)
    yield "ddim-eta", in_timesteps(d.DDIMScheduler(**plain), 10, seeds=True, eta=0.5)
    yield "ddim-velocity-zero-snr", in_timesteps(
        d.DDIMScheduler(**plain, prediction_type="v_prediction", rescale_betas_zero_snr=True), 10
    )
    for variance in ("small", "large"):
        # Leading, since the reference adds noise to the result unless the last timestep is 0.
        ddpm = d.DDPMScheduler(**LINEAR, clip_sample=False, variance_type=f"fixed_{variance}")
        yield f"ddpm-fixed-{variance}", in_timesteps(ddpm, 10, seeds=True)
    pndm = d.PNDMScheduler(**LINEAR, skip_prk_steps=True, set_alpha_to_one=False)
    yield "pndm-multistep", in_timesteps(pndm, 10)
    yield "lcm", in_timesteps(d.LCMScheduler(**LINEAR, clip_sample=False), 4, seeds=True)
    yield "flow-shift-3", flow(10, 3.0)


def schedules():
    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"):
        for rescale in (False, True):
            scheduler = d.DDPMScheduler(**dict(LINEAR, beta_schedule=kind), rescale_betas_zero_snr=rescale)
            yield f"{kind}{'-zero' if rescale else ''}", scheduler.alphas_cumprod[[0, 1, 249, 500, 900, 998]]


def spacings():
    for kind in ("linspace", "leading", "trailing"):
        for steps in (2, 7, 10, 50):
            scheduler = d.DDIMScheduler(**LINEAR, timestep_spacing=kind, steps_offset=0)
            scheduler.set_timesteps(steps)
            yield f"{kind}-{steps}", scheduler.timesteps
    for steps in (1, 4, 7, 50):
        scheduler = d.LCMScheduler(**LINEAR)
        scheduler.set_timesteps(steps)
        yield f"consistency-{steps}", scheduler.timesteps


def listing(values):
    return "[" + ", ".join(f"{float(v):.9g}" for v in values) + "]"


def main(folder):
    torch.use_deterministic_algorithms(True)
    lines = ["# Made by tools/golden/samplers.py with diffusers " + d.__version__ + "; do not edit."]
    for name, x in cases():
        flat = x.double().flatten()
        lines += ["", "[[sampler]]", f'name = "{name}"', f"abs_sum = {flat.abs().sum():.9g}"]
        lines += [f"first = {listing(x[0, 0, 0])}", f"last = {listing(x[3, 2, 7])}"]
    for name, alpha_bars in schedules():
        lines += ["", "[[schedule]]", f'name = "{name}"', f"alpha_bars = {listing(alpha_bars)}"]
    for name, timesteps in spacings():
        lines += ["", "[[spacing]]", f'name = "{name}"', f"timesteps = {[int(t) for t in timesteps]}"]
    (pathlib.Path(folder) / "samplers.toml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
