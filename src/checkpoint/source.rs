//! The source of a model's tensor: one tensor of a checkpoint, or several combined.

use safetensors::Dtype;

use super::Tensor;

/// Parts concatenated along a dimension. All dimensions before it have extent one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub parts: Vec<Part>,
    axis: usize,
}

/// A part of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// A stored tensor.
    Stored(Tensor),
    /// The sum of two of the same shape.
    Sum([Tensor; 2]),
    /// Zeros of this shape, in the type of the next part.
    Zeros(Vec<usize>, Dtype),
}

impl Source {
    /// Parts concatenated along `axis`.
    pub fn along(axis: usize, parts: Vec<Part>) -> Self {
        Source { parts, axis }
    }

    /// Tensors concatenated along the first dimension.
    pub fn of(tensors: impl IntoIterator<Item = Tensor>) -> Self {
        Source { parts: tensors.into_iter().map(Part::Stored).collect(), axis: 0 }
    }

    /// The shape of the whole; empty where the parts do not fit together.
    pub fn shape(&self) -> Vec<usize> {
        let Some((first, rest)) = self.parts.split_first() else { return vec![] };
        let mut shape = first.shape().to_vec();
        for part in rest {
            let part = part.shape();
            let others = |shape: &[usize]| {
                shape.iter().enumerate().filter(|(i, _)| *i != self.axis).map(|(_, n)| *n).collect::<Vec<_>>()
            };
            match (shape.get(self.axis), part.get(self.axis)) {
                (Some(&rows), Some(&more)) if others(&shape) == others(part) => {
                    shape[self.axis] = rows.saturating_add(more);
                }
                _ => return vec![],
            }
        }
        shape
    }

    /// The storage type of each part.
    pub fn dtypes(&self) -> impl Iterator<Item = Dtype> {
        self.parts.iter().map(|part| match part {
            Part::Stored(tensor) | Part::Sum([tensor, _]) => tensor.dtype,
            Part::Zeros(_, dtype) => *dtype,
        })
    }

    /// The tensors that it reads.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().flat_map(Part::tensors)
    }

    /// The tensor, if it is a single stored one.
    pub fn single(&self) -> Option<&Tensor> {
        match &self.parts[..] {
            [Part::Stored(tensor)] => Some(tensor),
            _ => None,
        }
    }
}

impl Part {
    fn shape(&self) -> &[usize] {
        match self {
            Part::Stored(tensor) => &tensor.shape,
            Part::Sum([first, second]) if first.shape == second.shape && first.dtype == second.dtype => &first.shape,
            Part::Sum(_) => &[],
            Part::Zeros(shape, _) => shape,
        }
    }

    /// The tensors that it reads.
    pub fn tensors(&self) -> &[Tensor] {
        match self {
            Part::Stored(tensor) => std::slice::from_ref(tensor),
            Part::Sum(pair) => pair,
            Part::Zeros(..) => &[],
        }
    }
}
