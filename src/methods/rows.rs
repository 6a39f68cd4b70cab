//! Tensors of patch rows, `[R, W]` or `[L, R, W]`: in every layer, the rows of one prompt follow those of another.

use super::{BankContent, NamedTensor, Prompt};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::tensor::shape_text;

/// Layers, rows of a layer and width of a tensor of rows.
///
/// # Errors
/// [`ErrorKind::Internal`] for a tensor of another form.
pub(crate) fn extents(tensor: &NamedTensor) -> Result<[usize; 3]> {
    match tensor.shape[..] {
        [rows, width] if width > 0 => Ok([1, rows, width]),
        [layers, rows, width] if width > 0 => Ok([layers, rows, width]),
        _ => {
            let message =
                format!("tensor `{}` has shape {}, which are no rows", tensor.name, shape_text(&tensor.shape));
            Err(Error::new(ErrorKind::Internal, message))
        }
    }
}

/// The tensor of these rows; its form is that of the first part.
///
/// # Errors
/// [`ErrorKind::Internal`] for no parts, or parts that differ in layers or width.
pub(crate) fn joined(parts: &[&NamedTensor]) -> Result<NamedTensor> {
    let different = || Error::new(ErrorKind::Internal, "prompts without patches, or with patches of different widths");
    let first = parts.first().ok_or_else(different)?;
    let [layers, _, width] = extents(first)?;
    let counts = parts.iter().map(|part| match extents(part)? {
        [l, rows, w] if [l, w] == [layers, width] => Ok(rows),
        _ => Err(different()),
    });
    let counts = counts.collect::<Result<Vec<usize>>>()?;
    let rows: usize = counts.iter().sum();
    let mut values = Vec::new();
    memory::reserve("the rows of a bank", &mut values, layers * rows * width)?;
    for layer in 0..layers {
        for (part, count) in parts.iter().zip(&counts) {
            values.extend_from_slice(&part.values[layer * count * width..][..count * width]);
        }
    }
    let shape = if first.shape.len() == 2 { vec![rows, width] } else { vec![layers, rows, width] };
    Ok(NamedTensor { name: first.name, shape, values: values.into() })
}

/// The parts of a tensor of which part `k` has `counts[k]` rows, those at `places`.
///
/// # Errors
/// [`ErrorKind::Internal`] for counts that are not the tensor's.
pub(crate) fn parts(tensor: &NamedTensor, counts: &[usize], places: &[usize]) -> Result<Vec<NamedTensor>> {
    let [layers, all, width] = extents(tensor)?;
    if counts.iter().sum::<usize>() != all || places.iter().any(|&place| place >= counts.len()) {
        return Err(Error::new(ErrorKind::Internal, "an unchecked bank was split into prompts"));
    }
    let part = |&k: &usize| {
        let (first, rows) = (counts[..k].iter().sum::<usize>(), counts[k]);
        let layer = |l: usize| &tensor.values[(l * all + first) * width..][..rows * width];
        let values = (0..layers).flat_map(layer).copied();
        let values = memory::collected("a prompt of a bank", layers * rows * width, values)?.into();
        let shape = if tensor.shape.len() == 2 { vec![rows, width] } else { vec![layers, rows, width] };
        Ok(NamedTensor { name: tensor.name, shape, values })
    };
    places.iter().map(part).collect()
}

/// The prompts of a bank of rows alone, as they were before [`joined`].
///
/// # Errors
/// As [`parts`].
pub(crate) fn prompts(bank: &BankContent, name: &str, hashes: &[[u8; 32]], places: &[usize]) -> Result<Vec<Prompt>> {
    let parts = parts(bank.tensor(name)?, &bank.rows, places)?;
    let prompt = |(&place, part): (&usize, NamedTensor)| Prompt { hash: hashes[place], tensors: vec![part] };
    Ok(places.iter().zip(parts).map(prompt).collect())
}

/// An error where a tensor is not of this shape.
///
/// # Errors
/// [`ErrorKind::Bank`] with the tensor, its shape and the expected one.
pub(crate) fn check_shape(bank: &BankContent, name: &str, expected: &[usize]) -> Result<()> {
    let found = &bank.tensor(name)?.shape;
    if found == expected {
        return Ok(());
    }
    let message = format!(
        "tensor `{name}` has shape {}, but the model and the prompts give {}: build the bank again",
        shape_text(found),
        shape_text(expected)
    );
    Err(Error::new(ErrorKind::Bank, message).of_tensor(name).with_shapes(expected, found))
}

/// An error where the rows of the prompts cannot be those of `prompts` prompts.
///
/// # Errors
/// [`ErrorKind::Bank`].
pub(crate) fn check_counts(bank: &BankContent, prompts: usize) -> Result<()> {
    if bank.rows.len() == prompts && !bank.rows.contains(&0) {
        return Ok(());
    }
    let message = format!("{prompts} prompts have {:?} rows of patches: build the bank again", bank.rows);
    Err(Error::new(ErrorKind::Bank, message))
}

/// The error of a bank whose prompts have become one.
pub(crate) fn inseparable(method: &str) -> Error {
    let message = format!(
        "a bank of the method `{method}` does not keep its prompts apart: build a new bank from all images, and calibrate it \
         with good images that are not in it"
    );
    Error::new(ErrorKind::Argument, message)
}
