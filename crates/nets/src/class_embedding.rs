//! The class, noise level or other label of an image as a vector that joins the time embedding.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use crate::layers::{Embedding, Linear, Weightless};
use crate::time_embedding::{Sinusoids, TimestepEmbedding};

/// What a network with a class embedding is told about each image.
#[derive(Clone, Debug)]
pub enum ClassCondition {
    /// Rows of the table, `[B]`.
    Label(Tensor<1, Int>),
    /// Numbers that are embedded as timesteps are, `[B]`.
    Number(Tensor<1>),
    /// Vectors, `[B, D]`.
    Vector(Tensor<2>),
}

/// How a class becomes a vector.
#[derive(Module, Debug)]
pub enum ClassEmbedding {
    /// By a table, from a label.
    Table(Embedding),
    /// As a timestep does, from a number.
    Timestep(TimestepEmbedding),
    /// By two layers, from a vector.
    Projection(TimestepEmbedding),
    /// By one layer, from a vector.
    SimpleProjection(Linear),
    /// Not at all: it is a vector already.
    Identity(Weightless),
}

impl ClassEmbedding {
    /// `[B, D]`.
    pub(crate) fn forward(&self, class: ClassCondition, sinusoids: &Sinusoids) -> Tensor<2> {
        match (self, class) {
            (Self::Table(table), ClassCondition::Label(labels)) => table.forward(labels),
            (Self::Timestep(layers), ClassCondition::Number(x)) => {
                layers.forward(sinusoids.forward(x))
            }
            (Self::Projection(layers), ClassCondition::Vector(x)) => layers.forward(x),
            (Self::SimpleProjection(layer), ClassCondition::Vector(x)) => layer.forward(x),
            (Self::Identity(_), ClassCondition::Vector(x)) => x,
            (Self::Table(_), _) => panic!("class condition: the config wants labels"),
            (Self::Timestep(_), _) => panic!("class condition: the config wants numbers"),
            (_, _) => panic!("class condition: the config wants vectors"),
        }
    }
}
