//! The program `inctrl`: anomaly scores and heat maps on the command line.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
