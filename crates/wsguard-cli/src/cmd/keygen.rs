//! `wsguard keygen`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use wsguard_core::token::Algorithm;
use wsguard_server::keys::{KeygenError, generate, write_key_files};

use super::Exit;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The signature algorithm. HS256 has no public part: whoever verifies can sign as well.
    #[arg(long, value_name = "ALG", default_value = "EdDSA")]
    alg: Alg,
    /// Where the key goes, with mode 0600; the public part of a key pair goes to FILE.pub. Nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Alg {
    #[value(name = "EdDSA")]
    EdDsa,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "HS256")]
    Hs256,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    algorithm: &'static str,
    key_id: &'a str,
    files: &'a [PathBuf],
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let algorithm = match arguments.alg {
        Alg::EdDsa => Algorithm::EdDsa,
        Alg::Es256 => Algorithm::Es256,
        Alg::Hs256 => Algorithm::Hs256,
    };
    let written = generate(algorithm).and_then(|key| write_key_files(&arguments.out, &key).map(|files| (key, files)));
    let (key, files) = match written {
        Ok(written) => written,
        Err(error @ KeygenError::Failed) => return output::failed(error, Exit::Failed),
        Err(error) => return output::failed(error, Exit::Usage),
    };
    if arguments.json {
        return output::json(&Report { algorithm: algorithm.as_str(), key_id: &key.key_id, files: &files });
    }
    let lines: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    output::note(format_args!("{algorithm} key {}", key.key_id));
    output::result(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsguard_server::keys::load_signing_key;

    #[test]
    fn every_algorithm_makes_a_key_that_signs_and_is_never_overwritten() {
        for (alg, want, files) in
            [(Alg::EdDsa, Algorithm::EdDsa, 2), (Alg::Es256, Algorithm::Es256, 2), (Alg::Hs256, Algorithm::Hs256, 1)]
        {
            let directory = std::env::temp_dir().join(format!("wsguard-keygen-{want}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            let out = directory.join("a.key");
            let arguments = Arguments { alg, out: out.clone(), json: true };
            assert_eq!(run(&arguments), Exit::Good, "{want}");
            assert_eq!(load_signing_key(&out).unwrap().algorithm(), want);
            assert_eq!(run(&arguments), Exit::Usage, "{want} again");
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), files, "{want}");
            std::fs::remove_dir_all(&directory).unwrap();
        }
    }
}
