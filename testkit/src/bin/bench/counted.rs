//! What callgrind counted, without what is another number in each run.

use std::collections::HashMap;

/// Where the cryptography starts it gathers entropy from the processor's jitter: millions of instructions more or less, as
/// it happens.
const ENTROPY: &str = "jitterentropy";

/// The instructions in a profile of callgrind: of each function its own, but for those of [`ENTROPY`]. `None` where it is
/// no profile.
pub(crate) fn instructions_of(profile: &str) -> Option<u64> {
    let (mut names, mut is_entropy, mut is_call, mut total) = (HashMap::new(), false, false, None);
    for line in profile.lines() {
        if line.starts_with("calls=") {
            is_call = true;
        } else if let Some((key, file)) = line.split_once('=').filter(|(key, _)| is_file(key)) {
            // `fl=(3) PATH` where it is named first, `fl=(3)` from then on.
            let (number, name) = file.split_once(' ').unwrap_or((file, ""));
            if !name.is_empty() {
                names.insert(number, name.contains(ENTROPY));
            }
            if !key.starts_with('c') {
                is_entropy = names.get(number).copied().unwrap_or(false);
            }
        } else if let Some(cost) = cost_of(line) {
            // The line behind `calls=` is the cost of the function that is called, which stands elsewhere as its own.
            if !std::mem::take(&mut is_call) && !is_entropy {
                *total.get_or_insert(0) += cost;
            }
        }
    }
    total
}

/// Whether a line names the file of the costs below it, or of a function that is called.
fn is_file(key: &str) -> bool {
    matches!(key, "fl" | "fi" | "fe" | "cfl" | "cfi")
}

/// The number behind a position: a line of the source, `+2`, `-3` or `*`.
fn cost_of(line: &str) -> Option<u64> {
    let (position, cost) = line.split_once(' ')?;
    let digits = position.strip_prefix(['+', '-']).unwrap_or(position);
    let is_position = position == "*" || (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    cost.parse().ok().filter(|_| is_position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_and_what_is_called_do_not_count() {
        let profile = "# callgrind format\nversion: 1\nevents: Ir\nsummary: 1112\n\n\
            fl=(1) /src/main.rs\nfn=(1) main\n16 5\n+2 3\ncfi=(2) /aws-lc/jitterentropy/base.c\ncfn=(2) jent_read\n\
            calls=1 40\n+1 1000\n* 4\n\nfl=(2)\nfn=(2)\n40 1000\n\nfl=(3) /src/other.rs\nfn=(3) other\n7 90\n\
            fi=(2)\n9 8\nfe=(3)\n-1 2\n\ntotals: 1112\n";
        assert_eq!(instructions_of(profile), Some(5 + 3 + 4 + 90 + 2));
        assert_eq!(instructions_of("==7== killed\n"), None);
    }
}
