//! Prints what `text` and `html` fields let through, for a browser to judge (`testkit/browser/markup-judge.mjs`).
//!
//! `markup_mutations SEED COUNT [raw|html] < vectors/markup.json` prints one JSON string per line: the outputs for all
//! vectors, then for COUNT mutations and mixtures of them. `raw` prints the inputs, so that one can see the judge bite.

use std::io::{Read, Write};

use wsguard_core::markup::{Cleaned, Neutralised, clean_html, neutralise};

/// Pieces that tags are made of.
const PIECES: &[&str] = &[
    "<",
    "</",
    ">",
    "/",
    " ",
    "=",
    "\"",
    "'",
    "\n",
    "\t",
    "\r",
    "\x0c",
    "\x0b",
    "\0",
    "!",
    "?",
    "--",
    "<!--",
    "-->",
    "&lt;",
    "&#60;",
    "img",
    "b",
    "x",
    "y",
    "int",
    "svg",
    "math",
    "script",
    "p",
    "br",
    "on",
    "onclick=alert(1)",
    "onerror=alert(1)",
    "src=x",
    "id=",
    "name",
    "class",
    "style",
    "href=//evil.invalid",
    "&&",
    "a-b",
    "<![CDATA[",
    "]]>",
    ":",
    "é",
    "\u{212a}",
    "<b>",
    "</b>",
    "<int>",
    "</int>",
    "<table>",
    "<select>",
    "<template>",
    "</textarea>",
    "\u{feff}",
];

/// `xorshift64*`: the same seed prints the same lines everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let rolled = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(rolled).unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }

    fn pick<'a>(&mut self, list: &'a [String]) -> &'a str {
        let index = self.below(list.len());
        list.get(index).map_or("", String::as_str)
    }

    fn piece(&mut self) -> &'static str {
        let index = self.below(PIECES.len());
        PIECES.get(index).copied().unwrap_or("")
    }

    /// A place between two characters of `text`.
    fn place(&mut self, text: &str) -> usize {
        let nth = self.below(text.chars().count().saturating_add(1));
        text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at)
    }
}

fn mutate(dice: &mut Dice, corpus: &[String]) -> String {
    if dice.below(4) == 0 {
        return (0..dice.below(16)).map(|_| dice.piece()).collect();
    }
    let mut text = dice.pick(corpus).to_owned();
    for _ in 0..=dice.below(4) {
        let at = dice.place(&text);
        match dice.below(5) {
            0 => text.insert_str(at, dice.piece()),
            1 => text.insert_str(at, dice.pick(corpus)),
            2 => text.truncate(at),
            3 => drop(text.drain(..at)),
            _ => {
                if at < text.len() {
                    text.remove(at);
                }
            }
        }
    }
    text
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed: u64 = arguments.next().ok_or("expected SEED COUNT [raw|html]")?.parse()?;
    let count: usize = arguments.next().ok_or("expected SEED COUNT [raw|html]")?.parse()?;
    let class = arguments.next().unwrap_or_default();

    let mut vectors = String::new();
    std::io::stdin().read_to_string(&mut vectors)?;
    let vectors: serde_json::Value = serde_json::from_str(&vectors)?;
    let mut texts: Vec<String> = ["hostile", "innocent"]
        .iter()
        .filter_map(|group| vectors.get(group)?.as_array())
        .flatten()
        .filter_map(|case| Some(case.get("text")?.as_str()?.to_owned()))
        .collect();
    let mut dice = Dice(seed | 1);
    let mutations: Vec<String> = (0..count).map(|_| mutate(&mut dice, &texts)).collect();
    texts.extend(mutations);

    let mut stdout = std::io::stdout().lock();
    let mut out = String::new();
    for text in &texts {
        let passes = match class.as_str() {
            "raw" => text,
            "html" => match clean_html(text, &mut out) {
                Ok(Cleaned::Untouched) => text,
                Ok(Cleaned::Changed) => &out,
                Err(_) => continue,
            },
            _ => match neutralise(text, &mut out) {
                Neutralised::Untouched => text,
                Neutralised::Changed => &out,
            },
        };
        writeln!(stdout, "{}", serde_json::to_string(passes)?)?;
    }
    Ok(())
}
