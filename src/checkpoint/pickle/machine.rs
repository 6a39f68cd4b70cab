//! The stack machine that interprets a pickle.

use std::collections::HashMap;
use std::ops::Range;

use super::{Global, MAX_NAME, Node, Pickle, Subject, Value};
use crate::checkpoint::budget::Budget;

/// A tensor takes about 30 opcodes, so this is enough for any model with its optimiser.
const MAX_OPCODES: usize = 500_000;
/// Overhead of an allocation in bytes.
const ALLOCATION: usize = 32;

type Parsed<T> = std::result::Result<T, String>;

/// Executes the opcodes at the start of `bytes`. Errors give the byte offset.
pub(super) fn run<'a>(bytes: &'a [u8], subject: Subject, budget: &mut Budget) -> Parsed<Pickle<'a>> {
    let (stack, marks, memo, nodes) = (vec![], vec![], HashMap::new(), vec![]);
    let mut machine = Machine { bytes, at: 0, op: 0, subject, budget, stack, marks, memo, nodes };
    let root = machine.run().map_err(|message| format!("{message} at byte {} of its pickle", machine.op))?;
    Ok(Pickle { bytes, nodes: machine.nodes, root, length: machine.at })
}

struct Machine<'a, 'b> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    /// The current opcode.
    op: usize,
    subject: Subject,
    budget: &'b mut Budget,
    stack: Vec<Value>,
    /// Stack heights.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
}

impl Machine<'_, '_> {
    fn run(&mut self) -> Parsed<Value> {
        for _ in 0..MAX_OPCODES {
            self.op = self.at;
            let opcode = self.take(1)?[0];
            match opcode {
                // PROTO
                0x80 => match self.take(1)?[0] {
                    0..=5 => {}
                    version => return Err(format!("unknown pickle protocol {version}")),
                },
                // FRAME
                0x95 => self.at = self.range(8).map(|range| range.end)?,
                b'.' => return self.pop(),
                b'(' => {
                    self.budget.elements::<usize>(1)?;
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    self.pop()?;
                }
                b'N' => self.put(Value::None)?,
                0x88 | 0x89 => self.put(Value::Bool(opcode == 0x88))?,
                b'K' | b'M' | b'J' => {
                    let value = match opcode {
                        b'K' => self.int::<1>()? as i64,
                        b'M' => self.int::<2>()? as i64,
                        _ => i64::from(self.int::<4>()? as u32 as i32),
                    };
                    self.put(Value::Int(value))?;
                }
                // LONG1
                0x8a => {
                    let length = self.int::<1>()? as usize;
                    let digits = self.take(length)?;
                    let fill = if digits.last().is_some_and(|&top| top >= 0x80) { 0xff } else { 0 };
                    // Longer numbers are not sizes, but the magic number of the old format is long.
                    let value = match digits.len() {
                        0..=8 => {
                            let mut bytes = [fill; 8];
                            bytes[..length].copy_from_slice(digits);
                            Value::Int(i64::from_le_bytes(bytes))
                        }
                        _ => Value::Float,
                    };
                    self.put(value)?;
                }
                // BINFLOAT
                b'G' => {
                    self.take(8)?;
                    self.put(Value::Float)?;
                }
                // Texts and byte strings, by the width of their length: BINUNICODE, BINBYTES, BINSTRING; SHORT_*.
                b'X' | b'B' | b'T' | 0x8c | b'C' | b'U' => {
                    let length = if matches!(opcode, b'X' | b'B' | b'T') { self.int::<4>()? } else { self.int::<1>()? };
                    let range = self.range(length as usize)?;
                    self.at = range.end;
                    self.put(Value::Text(range))?;
                }
                b']' | b')' => self.push(Node::List(vec![]))?,
                b'}' => self.push(Node::Dict(vec![]))?,
                // TUPLE
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Node::List(items))?;
                }
                // TUPLE1 to TUPLE3
                0x85..=0x87 => {
                    let items = self.pop_many(usize::from(opcode - 0x84))?;
                    self.push(Node::List(items))?;
                }
                // APPEND, APPENDS
                b'a' | b'e' => {
                    let items = if opcode == b'a' { self.pop_many(1)? } else { self.pop_mark()? };
                    self.budget.elements::<Value>(items.len())?;
                    match self.top()? {
                        Node::List(list) => {
                            list.reserve(items.len());
                            list.extend(items);
                        }
                        _ => return Err("items are added to something that is not a list".into()),
                    }
                }
                // SETITEM, SETITEMS
                b's' | b'u' => {
                    let items = if opcode == b's' { self.pop_many(2)? } else { self.pop_mark()? };
                    if items.len() % 2 != 0 {
                        return Err("a key has no value".into());
                    }
                    self.budget.elements::<Value>(items.len())?;
                    let mut items = items.into_iter();
                    match self.top()? {
                        Node::Dict(dict) => {
                            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                                dict.push((key, value));
                            }
                        }
                        _ => return Err("entries are added to something that is not a dictionary".into()),
                    }
                }
                // BINPUT, LONG_BINPUT, MEMOIZE
                b'q' | b'r' | 0x94 => {
                    let key = match opcode {
                        b'q' => self.int::<1>()? as u32,
                        b'r' => self.int::<4>()? as u32,
                        _ => self.memo.len() as u32,
                    };
                    let value = self.stack.last().cloned().ok_or("the stack is empty")?;
                    // In the worst case a hash table is half full, or a quarter full plus its copy while it grows.
                    self.budget.elements::<[u8; 2 * size_of::<(u32, Value)>()]>(1)?;
                    self.memo.insert(key, value);
                }
                // BINGET, LONG_BINGET
                b'h' | b'j' => {
                    let key = if opcode == b'h' { self.int::<1>()? } else { self.int::<4>()? } as u32;
                    let value = self.memo.get(&key).cloned();
                    self.put(value.ok_or_else(|| format!("memo {key} was never set"))?)?;
                }
                // GLOBAL
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                // STACK_GLOBAL
                0x93 => {
                    let names = self.pop_many(2)?;
                    let [Value::Text(module), Value::Text(name)] = &names[..] else {
                        return Err("a global has no name".into());
                    };
                    self.global(module.clone(), name.clone())?;
                }
                // REDUCE, NEWOBJ
                b'R' | 0x81 => {
                    let call = self.pop_many(2)?;
                    self.call(&call[0], &call[1], opcode == 0x81)?;
                }
                // BUILD
                b'b' => {
                    let state = self.pop()?;
                    // The state of a dictionary is attributes (`_metadata`), not entries.
                    if let (Node::Object(slot) | Node::Array(slot), Value::Node(state)) = (self.top()?, state) {
                        *slot = Some(state);
                    }
                }
                // BINPERSID
                b'Q' => match self.pop()? {
                    Value::Node(arguments) if matches!(self.nodes[arguments], Node::List(_)) => {
                        self.push(Node::Persistent(arguments))?;
                    }
                    _ => return Err("a storage reference is not a tuple".into()),
                },
                _ => return Err(format!("refused opcode 0x{opcode:02x}, which plain checkpoints never contain,")),
            }
        }
        Err(format!("more than {MAX_OPCODES} opcodes"))
    }

    fn call(&mut self, function: &Value, arguments: &Value, construct: bool) -> Parsed<()> {
        let Value::Global(function) = function else {
            return Err("refused call of something that is not a known function".into());
        };
        let Value::Node(at) = *arguments else { return Err("a call has no tuple of arguments".into()) };
        let Node::List(items) = &self.nodes[at] else { return Err("a call has no tuple of arguments".into()) };
        let first = items.first().cloned();
        match (function, construct) {
            (Global::OrderedDict, false) => {
                if !items.is_empty() {
                    return Err("refused OrderedDict with arguments".into());
                }
                self.push(Node::Dict(vec![]))?;
            }
            (Global::RebuildTensor, false) => self.push(Node::Tensor(at))?,
            (Global::RebuildParameter | Global::First, false) => {
                self.put(first.ok_or("a call has no arguments")?)?;
            }
            (Global::Inert, false) => self.push(Node::Inert)?,
            (Global::Reconstruct, false) => self.push(Node::Array(None))?,
            (Global::DType, false) => {
                let byte = match first {
                    Some(Value::Text(name)) => matches!(&self.bytes[name], b"u1" | b"|u1"),
                    _ => false,
                };
                self.push(Node::DType(byte))?;
            }
            (Global::ScriptClass, true) => self.push(Node::Object(None))?,
            _ => return Err(format!("refused call of {function:?}")),
        }
        Ok(())
    }

    fn global(&mut self, module: Range<usize>, name: Range<usize>) -> Parsed<()> {
        let text = |range: &Range<usize>| {
            let bytes = self.bytes.get(range.clone()).filter(|bytes| bytes.len() <= MAX_NAME);
            bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or("a global's name is not text, or is too long")
        };
        let (module, name) = (text(&module)?, text(&name)?);
        let Some(global) = Global::named(module, name, self.subject) else {
            let shown: String = format!("{module}.{name}").chars().take(120).collect();
            let known = match self.subject {
                Subject::Arrays => "arrays need",
                _ => {
                    "weights need (the file may hold training state or worse; if you trust its origin, save only its \
                     state_dict with torch.save)"
                }
            };
            let shown = shown.escape_debug();
            return Err(format!("refused global `{shown}`, which is not among the few names that {known},"));
        };
        self.put(Value::Global(global))?;
        Ok(())
    }

    fn put(&mut self, value: Value) -> Parsed<()> {
        self.budget.elements::<Value>(1)?;
        self.stack.push(value);
        Ok(())
    }

    fn push(&mut self, node: Node) -> Parsed<()> {
        self.put(Value::Node(self.nodes.len()))?;
        self.budget.elements::<Node>(1)?;
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Parsed<Value> {
        match self.stack.len() > self.marks.last().copied().unwrap_or(0) {
            true => self.stack.pop().ok_or_else(|| "the stack is empty".into()),
            false => Err("the stack is empty".into()),
        }
    }

    fn pop_many(&mut self, count: usize) -> Parsed<Vec<Value>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count).filter(|&from| from >= floor);
        self.cut(from.ok_or("the stack is empty")?)
    }

    fn pop_mark(&mut self) -> Parsed<Vec<Value>> {
        let mark = self.marks.pop().ok_or("no mark is set")?;
        // No opcode takes the stack below its last mark.
        self.cut(mark.min(self.stack.len()))
    }

    /// Removes and returns the values from `from` on.
    fn cut(&mut self, from: usize) -> Parsed<Vec<Value>> {
        self.budget.charge(ALLOCATION + (self.stack.len() - from) * size_of::<Value>())?;
        Ok(self.stack.split_off(from))
    }

    /// The container on top of the stack.
    fn top(&mut self) -> Parsed<&mut Node> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(Value::Node(at)) if self.stack.len() > floor => Ok(&mut self.nodes[*at]),
            _ => Err("items are added to something that is not a container".into()),
        }
    }

    fn range(&self, length: usize) -> Parsed<Range<usize>> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        Ok(self.at..end.ok_or("the file ends inside the value")?)
    }

    fn take(&mut self, length: usize) -> Parsed<&[u8]> {
        let range = self.range(length)?;
        self.at = range.end;
        Ok(&self.bytes[range])
    }

    fn int<const N: usize>(&mut self) -> Parsed<u64> {
        Ok(self.take(N)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Parsed<Range<usize>> {
        let length = self.bytes[self.at..].iter().position(|&byte| byte == b'\n');
        let range = self.at..self.at + length.ok_or("a name has no end")?;
        self.at = range.end + 1;
        Ok(range)
    }
}
