//! The stock binary: Weir's command line over the stock graphs.

fn main() -> std::process::ExitCode {
    weir::main(weir::stock::jobs())
}
