//! Runs the real program in its own folder.
#![allow(dead_code, reason = "each program uses its own part")]

use std::ffi::OsString;
use std::ops::Deref;
use std::process::{Child, Command, Output, Stdio};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::common::root;
use crate::folder::Folder;

/// The program that was built with the tests, or the one that `INCTRL_PROGRAM` names: tests may run on another machine.
pub fn program() -> OsString {
    std::env::var_os("INCTRL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_inctrl").into())
}

/// A folder with a model in it, in which the program runs.
pub struct Bench(Folder);

impl Deref for Bench {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.0
    }
}

/// How a run ended.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A tensor that is about to be written: name, type, shape, bytes.
pub type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

impl Bench {
    pub fn empty() -> Self {
        Bench(Folder::empty())
    }

    /// With the random model `w.safetensors`, and images: a folder `good` of three, `query.png` and `wide.png`.
    pub fn new() -> Self {
        let bench = Bench::empty();
        bench.model("w.safetensors", 1);
        for (i, name) in ["good/a.png", "good/b.png", "good/c.png", "query.png"].into_iter().enumerate() {
            bench.picture(name, 40, 40, i as u32);
        }
        bench.picture("wide.png", 60, 40, 9);
        bench
    }

    /// A random model: 48 x 48 pixels, 36 patches.
    pub fn model(&self, name: &str, seed: u64) {
        let config = root().join("tests/fixtures/model/quick_gelu.json");
        let seed = seed.to_string();
        self.run(&["weights", "random", "--config", config.to_str().unwrap(), "--seed", &seed, "-o", name]).succeeded();
    }

    /// Writes the model `w.safetensors` anew as `name`, with its tensors changed.
    pub fn changed_model(&self, name: &str, change: impl FnOnce(&mut Vec<Stored>)) {
        let file = self.read("w.safetensors");
        let metadata = SafeTensors::read_metadata(&file).unwrap().1.metadata().clone();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let stored = |(name, t): (String, TensorView<'_>)| (name, t.dtype(), t.shape().to_vec(), t.data().to_vec());
        let mut tensors: Vec<Stored> = tensors.tensors().into_iter().map(stored).collect();
        change(&mut tensors);
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        self.write(name, safetensors::serialize(views, metadata).unwrap());
    }

    /// The program with these arguments, in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.path("")).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// Scores with the model `w.safetensors` and one thread: the arguments begin with a bank or normals.
    pub fn score(&self, args: &[&str]) -> Run {
        self.run(&score_args(args))
    }

    /// Starts what [`Bench::score`] runs, with pipes to all its streams.
    pub fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(&score_args(args));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn score_args<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["score", "--weights", "w.safetensors", "--threads", "1"], args].concat()
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Run {
            code: output.status.code().expect("the program ends by itself, not by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// Fails unless the run ended well and without a word on standard error.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        self
    }

    /// Fails unless the run ended with exit code 1 and an error of one paragraph that holds all `parts`.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> Self {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{}", self.stderr);
        self.says(parts)
    }

    /// Fails unless standard error is an error that holds all `parts`.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        let stderr = &self.stderr;
        assert!(stderr.starts_with("error: ") && !stderr.contains("panicked"), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "no {part:?} in: {stderr}");
        }
        self
    }

    /// The fields of each JSON line.
    #[track_caller]
    pub fn rows(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A text field of each JSON line.
    #[track_caller]
    pub fn column(&self, field: &str) -> Vec<String> {
        self.rows().iter().map(|row| row[field].as_str().unwrap_or("null").to_owned()).collect()
    }
}
