//! Sets the name of the shared library, compiles the C part of the JPEG decoder (feature `libjpeg`), and embeds the
//! CUDA kernels (feature `cuda`): all of `kernels/` as one text, and as machine code if there is an nvcc.
//!
//! The result does not depend on the GPU of the machine that builds.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Architectures to compile for; the oldest also as PTX, from which drivers make code for those that are not listed.
const ARCHITECTURES: [u32; 7] = [80, 86, 87, 89, 90, 100, 120];
/// No fast mathematics: scores must be PyTorch's.
const FLAGS: [&str; 3] = ["-std=c++17", "-O3", "-fatbin"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    shared_library_name();
    #[cfg(feature = "libjpeg")]
    jpeg_decoder()?;
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        cuda_kernels()?;
    }
    Ok(())
}

/// The name that programs linked against the shared library look for. It changes only with the C interface: its number
/// is `INCTRL_ABI_VERSION`, which a test checks.
fn shared_library_name() {
    const ABI: u32 = 1;
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "freebsd" | "android") => println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libinctrl.so.{ABI}"),
        Ok("macos") => println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libinctrl.{ABI}.dylib"),
        _ => {}
    }
}

/// Compiles the function around libjpeg against the headers of the library that `mozjpeg-sys` builds.
#[cfg(feature = "libjpeg")]
fn jpeg_decoder() -> Result<(), Box<dyn Error>> {
    const SOURCE: &str = "src/image/decode/jpeg.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    let headers = env::var_os("DEP_JPEG_INCLUDE").ok_or("mozjpeg-sys does not say where its headers are")?;
    let mut build = cc::Build::new();
    // Hidden: the static library's names stay out of a program's dynamic symbols.
    build.file(SOURCE).includes(env::split_paths(&headers)).flag_if_supported("-fvisibility=hidden");
    Ok(build.try_compile("inctrl_jpeg")?)
}

/// Writes `kernels.rs` into the output folder: `SOURCE`, `FATBIN` and `FATBIN_VERSION`.
fn cuda_kernels() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=kernels");
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let source = out.join("kernels.cu");
    fs::write(&source, amalgam(Path::new("kernels"))?)?;
    let fatbin = match nvcc() {
        None => None,
        Some(nvcc) => match compile(&nvcc, &source, &out.join("kernels.fatbin")) {
            Ok(version) => Some(version),
            Err(error) => {
                println!("cargo::warning={}: {error}; kernels will be compiled at first use", nvcc.display());
                None
            }
        },
    };
    let mut text = "/// All kernels in one text.\n\
         const SOURCE: &str = include_str!(concat!(env!(\"OUT_DIR\"), \"/kernels.cu\"));\n"
        .to_owned();
    text += match fatbin {
        None => "/// Their machine code: none, as there was no nvcc.\nstatic FATBIN: Option<&[u8]> = None;\n",
        // Drivers read structures of 8 bytes' alignment at its beginning, and code of 64 bytes' in it; the bytes of a
        // file have none by themselves.
        Some(_) => {
            "/// A file where the driver wants it.\n#[repr(C, align(64))]\nstruct Aligned<T: ?Sized>(T);\n\
             static IMAGE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/kernels.fatbin\")));\n\
             /// Their machine code.\nstatic FATBIN: Option<&[u8]> = Some(&IMAGE.0);\n"
        }
    };
    text += &format!(
        "/// CUDA version of the compiler that made it, as 1000 * major + 10 * minor.\nconst FATBIN_VERSION: i32 = {};\n",
        fatbin.unwrap_or(0)
    );
    fs::write(out.join("kernels.rs"), text)?;
    Ok(())
}

/// Every `.cu` of the folder in one text, with each header where it is first included.
fn amalgam(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    files.sort();
    let (mut text, mut seen) = (String::new(), BTreeSet::new());
    for file in &files {
        inline(file, &mut text, &mut seen)?;
    }
    Ok(text)
}

fn inline(file: &Path, text: &mut String, seen: &mut BTreeSet<PathBuf>) -> Result<(), Box<dyn Error>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let content = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    text.push_str(&format!("#line 1 \"{name}\"\n"));
    for (number, line) in content.lines().enumerate() {
        let header = line.trim().strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"'));
        match header.map(|header| file.with_file_name(header)) {
            // A header that the device does not have is the host's, behind a condition.
            Some(path) if path.exists() => {
                if seen.insert(path.clone()) {
                    inline(&path, text, seen)?;
                    text.push_str(&format!("#line {} \"{name}\"\n", number + 2));
                }
            }
            None if line.trim() == "#pragma once" => text.push('\n'),
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    Ok(())
}

fn nvcc() -> Option<PathBuf> {
    let name = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let given = env::var_os("NVCC").map(PathBuf::from);
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let found = homes.chain(env::split_paths(&path)).map(|folder| folder.join(&name)).find(|path| path.is_file());
    given.or(found)
}

/// Compiles for every architecture that this nvcc knows, and returns its CUDA version.
fn compile(nvcc: &Path, source: &Path, out: &Path) -> Result<i32, Box<dyn Error>> {
    let run = |command: &mut Command| -> Result<String, Box<dyn Error>> {
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        // One line: cargo shows no more of a warning.
        Err(String::from_utf8_lossy(&output.stderr).lines().take(3).collect::<Vec<_>>().join("; ").into())
    };
    let about = run(Command::new(nvcc).arg("--version"))?;
    let release = about.split("release ").nth(1).and_then(|rest| rest.split(',').next());
    let (major, minor) = release.and_then(|release| release.split_once('.')).ok_or("its version cannot be told")?;
    let version = 1000 * major.trim().parse::<i32>()? + 10 * minor.trim().parse::<i32>()?;
    let known = run(Command::new(nvcc).arg("--list-gpu-code"))?;
    let mut command = Command::new(nvcc);
    command.args(FLAGS);
    // A third of the size. All drivers for CUDA 13 can decompress this; older nvcc or drivers cannot.
    if version >= 13_000 {
        command.arg("-compress-mode=size");
    }
    for sm in ARCHITECTURES.iter().filter(|sm| known.lines().any(|line| line.trim() == format!("sm_{sm}"))) {
        command.arg("-gencode").arg(format!("arch=compute_{sm},code=sm_{sm}"));
    }
    command.arg("-gencode").arg(format!("arch=compute_{0},code=compute_{0}", ARCHITECTURES[0]));
    run(command.arg("-o").arg(out).arg(source))?;
    Ok(version)
}
