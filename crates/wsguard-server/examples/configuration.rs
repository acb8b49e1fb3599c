//! Prints every key of the configuration as JSON, for `cargo xtask codegen`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

fn main() -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string(&wsguard_server::config::reference())?);
    Ok(())
}
