//! The program as a user runs it: the real binary in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use image::{ImageFormat, RgbImage};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;

/// A folder with a model in it, in which the program runs.
pub struct Bench(TempDir);

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
        Bench(tempfile::tempdir().unwrap())
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
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model/quick_gelu.json");
        let seed = seed.to_string();
        self.run(&["weights", "random", "--config", config.to_str().unwrap(), "--seed", &seed, "-o", name]).succeeded();
    }

    /// A textured PNG that depends on all arguments.
    pub fn picture(&self, name: &str, width: u32, height: u32, seed: u32) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let pixel = |x: u32, y: u32| {
            let mixed = (x / 5 + 31 * (y / 4) + 977 * seed).wrapping_mul(2_654_435_761);
            image::Rgb([(mixed >> 24) as u8, (mixed >> 16) as u8, (3 * x + 2 * y) as u8])
        };
        RgbImage::from_fn(width, height, pixel).save_with_format(path, ImageFormat::Png).unwrap();
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
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

    /// The program that was built with the tests, or the one that `INCTRL_PROGRAM` names: tests may run on another machine.
    pub fn command(&self, args: &[&str]) -> Command {
        let program = std::env::var_os("INCTRL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_inctrl").into());
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).args(args);
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
