//! Every operation against its plain twin, its derivative against central differences, and its bits
//! on any number of threads.

mod activation;
mod adamw;
mod attention;
mod given_gradient;
mod group_norm;
mod layer_norm;
mod product;
mod setting;
mod softmax;
