//! A pickle as data: the opcodes that build values, and a fixed list of names instead of imports.
//!
//! Python's own reader imports and calls whatever a pickle names. Here a name is looked up in [`Global`], and none of
//! these names runs anything. Any other name or opcode is an error with its byte offset. Work is linear in the pickle's
//! size: each opcode's work is bounded by its own bytes and the values it pops, and values that are used twice are
//! shared rather than copied. Memory is charged to a [`Budget`] that the caller derives from the file's size.

use std::ops::Range;

use safetensors::Dtype;

use super::budget::Budget;
use crate::error::{Error, ErrorKind, Result};

mod machine;
mod table;

pub use table::{Column, read_table};

/// The deepest nesting of modules that is followed.
const MAX_DEPTH: usize = 64;
/// The longest name of a class, a function or a tensor.
const MAX_NAME: usize = 1024;
/// Bytes that the names of a model's tensors may take, including their overhead. Real models take a tenth of this.
const MAX_NAMES: usize = 1 << 20;
/// Bytes per found tensor, beside its name.
const NAMED: usize = 64;

/// A value. Containers are shared by index in the [`Pickle`].
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    /// Bytes of the pickle: text that is UTF-8, unless it was a byte string.
    Text(Range<usize>),
    Global(Global),
    Node(usize),
}

/// A container.
#[derive(Debug)]
pub(super) enum Node {
    /// A list or a tuple.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// An instance of a TorchScript class: its attributes.
    Object(Option<usize>),
    /// A reference to a storage. The node is the list of its arguments.
    Persistent(usize),
    /// A tensor: the arguments that rebuild it.
    Tensor(usize),
    /// An array of NumPy: its state, a list.
    Array(Option<usize>),
    /// The type of an array's elements, and whether that is a byte.
    DType(bool),
    /// Something without tensors.
    Inert,
}

/// What a pickle is about, which decides what it may name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Subject {
    /// Tensors.
    Weights,
    /// Tensors in a TorchScript archive, with the names of its classes.
    Script,
    /// Arrays of NumPy.
    Arrays,
}

/// The names that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// Returns its first argument: torch.Size, TorchScript's typed lists.
    First,
    /// torch.device.
    Inert,
    Storage(Dtype),
    /// A class of a TorchScript archive.
    ScriptClass,
    /// Makes an empty array, which its state fills.
    Reconstruct,
    /// The class of arrays.
    NdArray,
    /// Makes the type of an array's elements.
    DType,
}

impl Global {
    fn named(module: &str, name: &str, subject: Subject) -> Option<Global> {
        if subject == Subject::Arrays {
            return Some(match (module, name) {
                ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::Reconstruct,
                ("numpy", "ndarray") => Global::NdArray,
                ("numpy", "dtype") => Global::DType,
                _ => return None,
            });
        }
        let script = subject == Subject::Script;
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "Size") => Global::First,
            ("torch", "device") => Global::Inert,
            ("torch", "DoubleStorage") => Global::Storage(Dtype::F64),
            ("torch", "FloatStorage") => Global::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Global::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Global::Storage(Dtype::BF16),
            ("torch", "LongStorage") => Global::Storage(Dtype::I64),
            ("torch", "IntStorage") => Global::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Global::Storage(Dtype::I16),
            ("torch", "CharStorage") => Global::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Global::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Global::Storage(Dtype::BOOL),
            ("torch.jit._pickle", "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist")
                if script =>
            {
                Global::First
            }
            _ if script && (module == "__torch__" || module.starts_with("__torch__.")) => Global::ScriptClass,
            _ => return None,
        })
    }
}

/// A parsed pickle.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    pub root: Value,
    /// Bytes up to and including STOP.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`.
    pub fn read(bytes: &'a [u8], subject: Subject, budget: &mut Budget) -> Result<Self> {
        machine::run(bytes, subject, budget).map_err(|message| Error::new(ErrorKind::Weights, message))
    }

    /// Number of containers.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn text(&self, value: &Value) -> Option<&'a str> {
        match value {
            Value::Text(range) => std::str::from_utf8(&self.bytes[range.clone()]).ok(),
            _ => None,
        }
    }

    pub fn node(&self, value: &Value) -> Option<&Node> {
        match value {
            Value::Node(at) => self.nodes.get(*at),
            _ => None,
        }
    }

    /// The items of a list or a tuple.
    pub fn list(&self, value: &Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a dictionary, or the attributes of an object.
    pub fn entries(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match self.node(value)? {
            Node::Dict(entries) => Some(entries),
            Node::Object(Some(state)) => match &self.nodes[*state] {
                Node::Dict(entries) => Some(entries),
                _ => None,
            },
            _ => None,
        }
    }

    /// The entry of a dictionary under a text key. The last one counts if there are several.
    pub fn entry(&self, value: &Value, key: &str) -> Option<&Value> {
        self.entries(value)?.iter().rev().find(|(found, _)| self.text(found) == Some(key)).map(|(_, value)| value)
    }

    /// Every tensor under `value` with its name, keys and attributes joined by dots, and the arguments that rebuild it.
    /// Lists are not searched.
    pub fn tensors(&self, value: &Value) -> Result<Vec<(String, &[Value])>> {
        // Shared parts are visited once per path, and there can be exponentially many paths.
        let mut budget = MAX_NAMES;
        let mut found = Vec::new();
        self.gather(value, String::new(), 0, &mut budget, &mut found)?;
        Ok(found)
    }

    fn gather<'s>(
        &'s self,
        value: &Value,
        name: String,
        depth: usize,
        budget: &mut usize,
        found: &mut Vec<(String, &'s [Value])>,
    ) -> Result<()> {
        if let Some(arguments) = self.tensor(value) {
            found.push((name, arguments));
            return Ok(());
        }
        // An object's attributes are its parameters and sub-modules. Dictionaries inside a plain dictionary hold no
        // weights.
        let is_object = matches!(self.node(value), Some(Node::Object(_)));
        let Some(entries) = self.entries(value).filter(|_| is_object || depth == 0) else { return Ok(()) };
        for (key, value) in entries {
            let Some(key) = self.text(key) else { continue };
            let length = name.len() + 1 + key.len();
            *budget = budget.saturating_sub(NAMED + length);
            if depth == MAX_DEPTH || *budget == 0 || length > MAX_NAME {
                let message = "is nested too deeply, or has too many names or too long ones for a model";
                return Err(Error::new(ErrorKind::Weights, message));
            }
            let name = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
            self.gather(value, name, depth + 1, budget, found)?;
        }
        Ok(())
    }

    /// The arguments that rebuild a tensor.
    pub fn tensor(&self, value: &Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Tensor(arguments) => self.list(&Value::Node(*arguments)),
            _ => None,
        }
    }

    /// The arguments of a storage reference.
    pub fn persistent(&self, value: &Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Persistent(arguments) => self.list(&Value::Node(*arguments)),
            _ => None,
        }
    }
}
