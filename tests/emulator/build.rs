//! Compiles the emulator. Objects and libraries are cached under a hash of all their inputs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Strict aliasing is off, as kernels load several elements as one, which device compilers allow; products and sums are
/// not fused, so that results are the same on every machine.
const FLAGS: [&str; 10] = [
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-pthread",
];
const SANITIZE: [&str; 4] =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1"];

/// The driver's library, and those that only name it as what they need.
const DRIVER: &str = "libcuda.so";
const OTHERS: [&str; 2] = ["libcublasLt.so", "libnvrtc.so"];

struct Compiler {
    program: String,
    flags: Vec<&'static str>,
    /// What it says of itself: another version makes other objects.
    version: Vec<u8>,
}

impl Compiler {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // A sanitizer that watches the test would watch the compiler too, which takes minutes.
        command.args(&self.flags).env_remove("LD_PRELOAD");
        command
    }
}

/// The folder with the libraries for the sources as they are now.
pub fn libraries() -> Result<PathBuf, String> {
    libraries_with(&Exports::All)
}

/// Which functions the libraries have.
pub enum Exports<'a> {
    All,
    /// All others.
    Without(&'a [&'a str]),
    Only(&'a [&'a str]),
}

impl Exports<'_> {
    /// The linker's version script.
    fn script(&self) -> Option<String> {
        let list = |names: &[&str]| names.iter().map(|name| format!("{name};")).collect::<String>();
        match self {
            Exports::All | Exports::Without([]) => None,
            Exports::Without(names) => Some(format!("{{ global: *; local: {} }};\n", list(names))),
            Exports::Only([]) => Some("{ local: *; };\n".to_owned()),
            Exports::Only(names) => Some(format!("{{ global: {} local: *; }};\n", list(names))),
        }
    }
}

/// The folder of the workspace.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().find(|folder| folder.join("kernels").is_dir()).unwrap_or(own)
}

/// The same with other functions: what an older or a broken driver has.
pub fn libraries_with(exports: &Exports<'_>) -> Result<PathBuf, String> {
    let root = root();
    let emulator = root.join("tests/emulator");
    let kernels = std::env::var_os("INCTRL_EMULATOR_KERNELS").map_or_else(|| root.join("kernels"), PathBuf::from);
    let own = Group { include: vec![&emulator], sources: files(&emulator, "cpp")? };
    let twins = Group { include: vec![&emulator, &kernels], sources: files(&kernels, "cu")? };
    let script = exports.script();
    build(&[own, twins], script.as_deref().unwrap_or_default(), |compiler, objects, folder| {
        let library = |name: &str| {
            let mut command = compiler.command();
            command.arg("-shared").arg(format!("-Wl,-soname,{name}")).arg("-o").arg(folder.join(name));
            command
        };
        let mut driver = library(DRIVER);
        if let Some(script) = &script {
            let path = folder.join("exports");
            fs::write(&path, script).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut option = std::ffi::OsString::from("-Wl,--version-script=");
            option.push(path);
            driver.arg(option);
        }
        run(driver.args(objects))?;
        for name in OTHERS {
            // Empty: the system finds the functions in what the library needs.
            let needed = ["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN"];
            run(library(name).args(needed).arg(folder.join(DRIVER)))?;
        }
        Ok(())
    })
}

/// The program with the emulator's own tests.
pub fn selftest() -> Result<PathBuf, String> {
    let emulator = root().join("tests/emulator");
    let mut sources = files(&emulator, "cpp")?;
    // Its settings are its own.
    let own = ["block.cpp", "collectives.cpp", "fibers.cpp", "guarded.cpp", "kernels.cpp"];
    sources.retain(|path, _| own.iter().any(|name| path.ends_with(name)));
    sources.extend(files(&emulator.join("selftest"), "cpp")?);
    let folder = build(&[Group { include: vec![&emulator], sources }], "", |compiler, objects, folder| {
        run(compiler.command().args(objects).arg("-o").arg(folder.join("selftest")))
    })?;
    Ok(folder.join("selftest"))
}

/// Sources that include headers of the same folders.
struct Group<'a> {
    include: Vec<&'a Path>,
    sources: BTreeMap<PathBuf, Vec<u8>>,
}

/// One source to compile.
struct Job<'a> {
    include: &'a [&'a Path],
    source: &'a Path,
    object: PathBuf,
}

/// The folder with what `link` makes of the objects of all sources and of `settings`, made if it is not there.
fn build(
    groups: &[Group<'_>],
    settings: &str,
    link: impl Fn(&Compiler, &[PathBuf], &Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    let objects = target.join("objects");
    fs::create_dir_all(&objects).map_err(|error| format!("{}: {error}", objects.display()))?;

    let compiler = compiler()?;
    let mut whole = blake3::Hasher::new();
    whole.update(settings.as_bytes());
    let mut jobs = Vec::new();
    for Group { include, sources } in groups {
        let mut common = blake3::Hasher::new();
        common.update(&compiler.version).update(format!("{:?}", compiler.flags).as_bytes());
        for folder in include {
            let headers = files(folder, "h")?.into_iter().chain(files(folder, "cuh")?);
            headers.for_each(|(path, content)| add(&mut common, &path, &content));
        }
        for (source, content) in sources {
            let mut hasher = common.clone();
            add(&mut hasher, source, content);
            let hash = hasher.finalize();
            whole.update(hash.as_bytes());
            jobs.push(Job { include, source, object: objects.join(format!("{}.o", &hash.to_hex()[..32])) });
        }
    }
    let folder = target.join(&whole.finalize().to_hex()[..32]);
    if folder.is_dir() {
        return Ok(folder);
    }
    probe(&compiler, &objects)?;
    // From here on it is our sources that are wrong: tests that pass over them would say nothing.
    compile_all(&compiler, &jobs).unwrap_or_else(|error| panic!("no device to test: {error}"));

    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let partial = tempfile::Builder::new().prefix("linking").tempdir_in(&target).map_err(failed)?;
    let objects: Vec<PathBuf> = jobs.into_iter().map(|job| job.object).collect();
    link(&compiler, &objects, partial.path()).unwrap_or_else(|error| panic!("no device to test: {error}"));
    let partial = partial.keep();
    if fs::rename(&partial, &folder).is_err() {
        // Another process was first.
        let _ = fs::remove_dir_all(&partial);
    }
    if folder.is_dir() { Ok(folder) } else { Err(format!("{} could not be made", folder.display())) }
}

fn add(hasher: &mut blake3::Hasher, path: &Path, content: &[u8]) {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    hasher.update(&name.len().to_le_bytes()).update(name).update(&content.len().to_le_bytes()).update(content);
}

/// The files of a folder with an extension, and what is in them.
fn files(folder: &Path, extension: &str) -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension() == Some(OsStr::new(extension)) {
            let content = fs::read(&path).map_err(failed)?;
            found.insert(path, content);
        }
    }
    Ok(found)
}

fn compiler() -> Result<Compiler, String> {
    if !cfg!(target_os = "linux") {
        return Err("the emulator is for Linux".into());
    }
    let mut flags = FLAGS.to_vec();
    if std::env::var_os("INCTRL_EMULATOR_SANITIZE").is_some_and(|value| value != "0") {
        flags.extend(SANITIZE);
    }
    let given = std::env::var("CXX").ok();
    let names = given.iter().map(String::as_str).chain(["c++", "g++", "clang++"]);
    for program in names {
        let version = Command::new(program).arg("--version").output();
        if let Some(output) = version.ok().filter(|output| output.status.success()) {
            return Ok(Compiler { program: program.to_owned(), flags, version: output.stdout });
        }
    }
    Err("no C++ compiler was found (CXX, c++, g++ or clang++)".into())
}

/// Whether the compiler has what the emulator is written in, half precision among it; older ones are no fault of ours.
fn probe(compiler: &Compiler, folder: &Path) -> Result<(), String> {
    const SOURCE: &str =
        "#include <optional>\nstd::optional<_Float16> half(float x) { return static_cast<_Float16>(x); }\n";
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let scratch = tempfile::tempdir_in(folder).map_err(failed)?;
    let source = scratch.path().join("probe.cpp");
    fs::write(&source, SOURCE).map_err(failed)?;
    run(compiler.command().arg("-c").arg(source).arg("-o").arg(scratch.path().join("probe.o")))
        .map_err(|error| format!("the compiler is too old for the emulator: {error}"))
}

/// Runs a compiler; its messages are the error.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Compiles each source whose object is not there, on all processors.
fn compile_all(compiler: &Compiler, jobs: &[Job<'_>]) -> Result<(), String> {
    let left = Mutex::new(jobs.iter().filter(|job| !job.object.is_file()).collect::<Vec<_>>());
    let failure = Mutex::new(None);
    let work = || {
        loop {
            let Some(job) = left.lock().unwrap().pop() else { return };
            if let Err(error) = compile(compiler, job) {
                failure.lock().unwrap().get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    failure.into_inner().unwrap().map_or(Ok(()), Err)
}

fn compile(compiler: &Compiler, Job { include, source, object }: &Job<'_>) -> Result<(), String> {
    // Under a name of its own until it is whole: other test processes may compile the same file.
    let partial = object.with_extension(format!("{}.partial", std::process::id()));
    let mut command = compiler.command();
    for folder in *include {
        command.arg("-I").arg(folder);
    }
    run(command.args(["-x", "c++", "-c"]).arg(source).arg("-o").arg(&partial))?;
    fs::rename(&partial, object).map_err(|error| format!("{}: {error}", object.display()))
}
