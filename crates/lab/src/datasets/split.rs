//! Drawing from names: an order that follows from a seed, and from nothing else.

use super::{Item, Split};

/// The indices of `names` in an order that `purpose` and the seed give. It does not depend on the order of the names, and is
/// the same on every machine.
pub fn draw<'a>(purpose: &str, seed: u64, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let key = |name: &str| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(purpose.len() as u64).to_le_bytes()).update(purpose.as_bytes()).update(&seed.to_le_bytes());
        *hasher.update(name.as_bytes()).finalize().as_bytes()
    };
    let mut order: Vec<_> = names.enumerate().map(|(index, name)| (key(name), name, index)).collect();
    order.sort();
    order.into_iter().map(|(_, _, index)| index).collect()
}

/// Puts a quarter of `normals`, rounded up, into the test part and the rest into the training part: the published counts.
pub(super) fn quarter(normals: &mut [Item], seed: u64) {
    let order = draw("split", seed, normals.iter().map(|item| item.name.as_str()));
    let test = normals.len().div_ceil(4);
    for (place, index) in order.into_iter().enumerate() {
        normals[index].split = if place < test { Split::Test } else { Split::Train };
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::Label;
    use super::*;

    fn test_names(names: &[&str], seed: u64) -> Vec<String> {
        let item = |name: &&str| Item::new(Path::new(""), PathBuf::from(name), "", Label::Normal, Split::Train);
        let mut items: Vec<Item> = names.iter().map(item).collect();
        quarter(&mut items, seed);
        let mut chosen: Vec<_> = items.into_iter().filter(|i| i.split == Split::Test).map(|i| i.name).collect();
        chosen.sort();
        chosen
    }

    #[test]
    fn a_quarter_whatever_the_order_of_the_names() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let mut backwards = names;
        backwards.reverse();
        assert_eq!(test_names(&names, 3).len(), 3);
        assert_eq!(test_names(&names, 3), test_names(&backwards, 3));
        assert!((0..20).any(|seed| test_names(&names, seed) != test_names(&names, 3)));
        assert_eq!(test_names(&["a"], 0), ["a"]);
    }
}
