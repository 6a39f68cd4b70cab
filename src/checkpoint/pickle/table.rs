//! Pickled dictionaries of lists and arrays, such as the batches of CIFAR-10.

use std::ops::Range;

use super::super::budget::Budget;
use super::{Node, Pickle, Subject, Value, machine};
use crate::error::{Error, ErrorKind, Result};

/// Memory for the values of a dictionary, without the arrays, which stay in the file. A batch of CIFAR-10, with 10,000 labels and
/// file names, takes about a tenth.
const BUDGET: usize = 64 << 20;

/// An entry of a dictionary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// A list of integers.
    Integers(Vec<i64>),
    /// An array of bytes.
    Bytes {
        /// Extent of each dimension, outermost first.
        shape: Vec<usize>,
        /// The byte range of its elements in the pickle, row-major.
        range: Range<usize>,
    },
    /// Something else.
    Other,
}

/// The entries of a pickled dictionary with text keys, in their order. The pickle is parsed and never executed: it may name only
/// arrays and their types.
///
/// # Errors
/// [`ErrorKind::Argument`] for other pickles, with the byte offset of what is refused.
pub fn read_table(bytes: &[u8]) -> Result<Vec<(String, Column)>> {
    let fail = |message: String| Error::new(ErrorKind::Argument, message);
    let pickle = machine::run(bytes, Subject::Arrays, &mut Budget::new(BUDGET)).map_err(fail)?;
    let entries = pickle.entries(&pickle.root).ok_or_else(|| fail("the pickle is no dictionary".to_owned()))?;
    let named = entries.iter().filter_map(|(key, value)| Some((pickle.text(key)?, value)));
    named.map(|(name, value)| Ok((name.to_owned(), column(&pickle, name, value)?))).collect()
}

fn column(pickle: &Pickle<'_>, name: &str, value: &Value) -> Result<Column> {
    match pickle.node(value) {
        Some(Node::List(items)) => {
            let integer = |item: &Value| if let Value::Int(value) = item { Some(*value) } else { None };
            Ok(items.iter().map(integer).collect::<Option<_>>().map_or(Column::Other, Column::Integers))
        }
        Some(Node::Array(state)) => bytes(pickle, *state).ok_or_else(|| {
            let message = format!("the array `{name}` does not hold bytes, row by row, as many as its shape says");
            Error::new(ErrorKind::Argument, message)
        }),
        _ => Ok(Column::Other),
    }
}

/// Reads the state of an array: version, shape, type, whether it is column-major, elements.
fn bytes(pickle: &Pickle<'_>, state: Option<usize>) -> Option<Column> {
    let [_, shape, dtype, Value::Bool(false), Value::Text(range)] = pickle.list(&Value::Node(state?))? else {
        return None;
    };
    let extent = |value: &Value| if let Value::Int(extent) = value { usize::try_from(*extent).ok() } else { None };
    let shape: Vec<usize> = pickle.list(shape)?.iter().map(extent).collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |count, extent| count.checked_mul(*extent))?;
    let whole = matches!(pickle.node(dtype), Some(Node::DType(true))) && count == range.len();
    whole.then(|| Column::Bytes { shape, range: range.clone() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/fixtures/cifar10/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn batches_of_every_python_are_the_same_table() {
        for name in ["python2", "protocol3", "protocol4"] {
            let file = fixture(name);
            let table = read_table(&file).map_err(|error| error.to_string()).unwrap();
            let names: Vec<&str> = table.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["batch_label", "labels", "data", "filenames"], "{name}");
            assert_eq!(table[1].1, Column::Integers(vec![3, 0, 9, 3]), "{name}");
            assert_eq!((&table[0].1, &table[3].1), (&Column::Other, &Column::Other), "{name}");
            let Column::Bytes { shape, range } = &table[2].1 else { panic!("{name}: {:?}", table[2]) };
            assert_eq!(shape[..], [4, 3072], "{name}");
            let expected = (0..4).flat_map(|n| (0..3072).map(move |b| ((31 * n + 7 * b + b / 1024) % 256) as u8));
            assert!(file[range.clone()].iter().copied().eq(expected), "{name}");
        }
    }

    /// The labels and names of a batch of full size take less than an eighth of the budget.
    #[test]
    fn a_batch_of_full_size_fits_the_budget() {
        let list = |name: &[u8], items: &dyn Fn(usize) -> Vec<u8>| -> Vec<u8> {
            let items: Vec<u8> = (0..10_000).flat_map(items).collect();
            [&[b'U', name.len() as u8], name, b"](", &items, b"e"].concat()
        };
        let labels = list(b"labels", &|index| vec![b'K', (index % 10) as u8]);
        // Each name is stored in the memo, as Python 2 does.
        let file_name = |index: usize| {
            let name = format!("leptodactylus_pentadactylus_s_{index:06}.png");
            [&[b'U', name.len() as u8], name.as_bytes(), b"r", &(index as u32).to_le_bytes()].concat()
        };
        let names = list(b"filenames", &file_name);
        let batch = [b"\x80\x02}(", &labels[..], &names, b"u."].concat();
        machine::run(&batch, Subject::Arrays, &mut Budget::new(BUDGET / 8)).map(|_| ()).unwrap();
        let table = read_table(&batch).unwrap();
        assert!(matches!(&table[0].1, Column::Integers(labels) if labels.len() == 10_000), "{:?}", table[1].0);
    }

    /// A dictionary with one entry `a`.
    fn entry(value: &[u8]) -> Vec<u8> {
        [b"\x80\x02}U\x01a", value, b"s."].concat()
    }

    /// An array of two bytes with one field of its state replaced.
    fn array(at: usize, other: &[u8]) -> Vec<u8> {
        let mut fields = [
            b"K\x01".to_vec(),
            b"K\x01K\x02\x86".to_vec(),
            b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R".to_vec(),
            b"\x89".to_vec(),
            b"U\x02xy".to_vec(),
        ];
        fields[at] = other.to_vec();
        let made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(".to_vec();
        entry(&[made, fields.concat(), b"tb".to_vec()].concat())
    }

    #[test]
    fn arrays_that_are_not_what_they_say_are_refused() {
        let whole = read_table(&array(0, b"K\x01")).unwrap();
        assert!(matches!(&whole[0].1, Column::Bytes { shape, range } if shape[..] == [1, 2] && range.len() == 2));
        for (at, other) in [
            (1, &b"K\x01K\x03\x86"[..]),
            (1, b"J\xff\xff\xff\xffK\x02\x86"),
            (1, b"N"),
            (2, b"cnumpy\ndtype\nU\x02f4K\0K\x01\x87R"),
            (2, b"N"),
            (3, b"\x88"),
            (4, b"N"),
            (4, b"U\x03xyz"),
        ] {
            let error = read_table(&array(at, other)).unwrap_err();
            assert!(error.to_string().contains("the array `a` does not hold bytes"), "{at}, {other:?}: {error}");
        }
    }

    #[test]
    fn nothing_but_arrays_may_be_named() {
        for (value, part) in [
            (&b"cos\nsystem\nU\x04echo\x85R"[..], "refused global `os.system`"),
            (b"cnumpy\nload\nU\x01f\x85R", "refused global `numpy.load`"),
            (b"ctorch\nFloatStorage\n", "refused global `torch.FloatStorage`"),
            (b"c__torch__\nM\n)\x81", "refused global `__torch__.M`"),
            (b"cnumpy\nndarray\n)R", "refused call of NdArray"),
            (b"cnumpy\ndtype\n)\x81", "refused call of DType"),
        ] {
            let error = read_table(&entry(value)).unwrap_err();
            assert!(error.kind() == ErrorKind::Argument && error.to_string().contains(part), "{part}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happens to a batch's bytes, reading it ends in arrays that lie in the file, or in an error.
        #[test]
        fn damaged_batches_never_panic(
            which in 0_usize..3,
            changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..24),
            cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let mut file = fixture(["python2", "protocol3", "protocol4"][which]);
            let length = file.len();
            for (head, at, byte) in changes {
                // All but the pixels lies in the first and the last 300 bytes.
                let at = at.index(300);
                file[if head { at } else { length - 300 + at }] = byte;
                examine(&file);
            }
            if let Some(cut) = cut {
                examine(&file[..cut.index(length)]);
            }
        }
    }

    fn examine(file: &[u8]) {
        for (_, column) in read_table(file).unwrap_or_default() {
            if let Column::Bytes { shape, range } = column {
                assert!(range.end <= file.len() && shape.iter().product::<usize>() == range.len());
            }
        }
    }
}
