//! Comparison with expected numbers, which fails on NaN, and reading of golden tensors.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;

/// Fails unless `max|found - expected| <= tolerance * scale`; prints the worst element and the share of the budget
/// used.
#[track_caller]
pub fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f32, scale: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let budget = tolerance * scale;
    let mut worst = (0, 0.0f32);
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let diff = (f - e).abs();
        assert!(diff.is_finite(), "{what}[{i}]: found {f}, expected {e}");
        if diff > worst.1 {
            worst = (i, diff);
        }
    }
    let (i, diff) = worst;
    println!("{what}: max difference {diff:.2e}, {:.0} % of the budget", 100.0 * diff / budget);
    assert!(
        diff <= budget,
        "{what}[{i}]: found {}, expected {}, difference {diff:e} > {budget:e}",
        found[i],
        expected[i]
    );
}

/// `max|found - expected| <= tolerance * max|expected|`.
#[track_caller]
pub fn close_to_max(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let scale = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    close(what, found, expected, tolerance, scale);
}

/// The f32 tensors of a golden file, by name, with their shapes.
pub struct Goldens(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Goldens {
    pub fn open(path: &Path) -> Self {
        let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let read = |(name, t): (String, safetensors::tensor::TensorView<'_>)| {
            let values = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            (name, (t.shape().to_vec(), values))
        };
        Goldens(tensors.tensors().into_iter().map(read).collect())
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> &[f32] {
        &self.0.get(name).unwrap_or_else(|| panic!("no golden tensor {name}")).1
    }

    pub fn find(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(|(_, values)| &values[..])
    }
}
