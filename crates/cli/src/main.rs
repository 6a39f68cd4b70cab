//! The program `inctrl`: anomaly scores and heat maps on the command line.

fn main() -> std::process::ExitCode {
    inctrl_cli::main(std::env::args_os())
}
