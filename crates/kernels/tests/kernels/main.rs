//! Every operation against its plain twin, its derivative against central differences, and its bits
//! on any number of threads.

mod activation;
mod adamw;
mod attention;
mod composite;
mod encodings;
mod group_norm;
mod hash_grid;
mod layer_norm;
mod mlp;
mod product;
mod setting;
mod softmax;
mod sparse_adam;
