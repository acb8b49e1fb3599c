//! `wsguard man`

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man;

use super::{Cli, Exit};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write `wsguard.1` and a page for each command there, instead of printing the first.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Some(folder) = &arguments.out else {
        let mut page = Vec::new();
        return match Man::new(Cli::command()).render(&mut page) {
            Ok(()) => output::result(String::from_utf8_lossy(&page).trim_end()),
            Err(error) => output::failed(format_args!("write the manual page: {error}"), Exit::Failed),
        };
    };
    match write(folder) {
        Ok(()) => Exit::Good,
        Err(error) => output::failed(format_args!("write {}: {error}", folder.display()), Exit::Failed),
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = std::env::temp_dir().join(format!("wsguard-man-{}", std::process::id()));
        write(&folder).unwrap();
        for command in Cli::command().get_subcommands() {
            let page = std::fs::read_to_string(folder.join(format!("wsguard-{}.1", command.get_name()))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{}", command.get_name());
        }
        let page = std::fs::read_to_string(folder.join("wsguard.1")).unwrap();
        assert!(page.contains("check\\-config"), "{page}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
