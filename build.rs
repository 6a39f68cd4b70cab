//! What the compiler cannot know by itself.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    shared_library_name();
}

/// The name that programs linked against the shared library look for, which changes with the C interface only: its number is
/// `INCTRL_ABI_VERSION`, as a test makes sure.
fn shared_library_name() {
    const ABI: u32 = 1;
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "freebsd" | "android") => println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libinctrl.so.{ABI}"),
        Ok("macos") => println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libinctrl.{ABI}.dylib"),
        _ => {}
    }
}
