//! Libraries that are known by how they refuse, and the published holes that some of their versions have.

use regex::Regex;

/// A version, as far as it is compared.
pub(super) type Version = [u32; 3];

/// How a library is known.
struct Sign {
    library: &'static str,
    /// Over a whole answer, as [`Answer`](super::disc_02) writes it: status, headers in their order, body. The group `v`
    /// is the version.
    pattern: &'static str,
    /// What the sign says of the version: from, and below.
    within: (Version, Version),
}

const ANY: (Version, Version) = ([0; 3], [u32::MAX; 3]);

/// In order: the more telling ones first.
const SIGNS: &[Sign] = &[
    // The list of versions came with 8.18.3, the sentence with 8.7.0.
    sign_of(
        "ws",
        r"(?s)^400\n(?:.*\n)?sec-websocket-version: 13, 8\n(?:.*\n)?\nMissing or invalid Sec-WebSocket-\w+ header$",
        ([8, 18, 3], [u32::MAX; 3]),
    ),
    sign_of(
        "ws",
        r"(?s)^400\nconnection: close\ncontent-type: text/html\ncontent-length: \d+\n\nMissing or invalid Sec-WebSocket-Version header$",
        ([8, 7, 0], [8, 18, 3]),
    ),
    sign_of(
        "ws",
        r"^400\nconnection: close\ncontent-type: text/html\ncontent-length: 11\n\nBad Request$",
        ([0; 3], [8, 7, 0]),
    ),
    sign_of("websocket (npm)", r"\nx-websocket-reject-reason: ", ANY),
    sign_of("aiohttp", r"\nserver: [^\n]*aiohttp/(?P<v>[\d.]+)", ANY),
    sign_of("tornado", r"\nserver: Tornado(?:Server)?/(?P<v>[\d.]+)", ANY),
    sign_of("tornado", r"\n\nMissing/Invalid WebSocket headers$", ANY),
    sign_of("websockets (Python)", r"\nserver: [^\n]*websockets/(?P<v>[\d.]+)", ANY),
    sign_of("websockets (Python)", r"\n\nFailed to open a WebSocket connection: ", ANY),
    sign_of(
        "websocket-driver",
        r"\n\n(?:Unsupported WebSocket version: |Missing handshake request header: Sec-WebSocket-Key$)",
        ANY,
    ),
    sign_of(
        "engine.io",
        r#"\n\n\{"code":\d,"message":"(?:Transport unknown|Session ID unknown|Bad handshake method|Bad request|Forbidden|Unsupported protocol version)""#,
        ANY,
    ),
    sign_of(
        "gorilla/websocket",
        r"\n\nBad Request\nwebsocket: |websocket: (?:unsupported version|the client is not using)",
        ANY,
    ),
    sign_of("Tomcat", r"Apache Tomcat/(?P<v>[\d.]+)", ANY),
    sign_of("Autobahn", r"\nserver: AutobahnPython/(?P<v>[\d.]+)", ANY),
    sign_of("uvicorn", r"\nserver: uvicorn", ANY),
    sign_of("hypercorn", r"\nserver: hypercorn", ANY),
    sign_of("Daphne", r"\nserver: Daphne", ANY),
    sign_of("Werkzeug", r"\nserver: Werkzeug/(?P<v>[\d.]+)", ANY),
    sign_of("Jetty", r"\nserver: Jetty\((?P<v>[\d.]+)", ANY),
    sign_of("Kestrel", r"\nserver: Kestrel", ANY),
];

const fn sign_of(library: &'static str, pattern: &'static str, within: (Version, Version)) -> Sign {
    Sign { library, pattern, within }
}

/// A published hole.
struct Hole {
    id: &'static str,
    library: &'static str,
    /// From, and the version that has it no more.
    affected: &'static [(Version, Version)],
}

const HOLES: &[Hole] = &[
    Hole { id: "CVE-2026-62389", library: "ws", affected: &[([0; 3], [8, 21, 1])] },
    Hole {
        id: "CVE-2026-48779",
        library: "ws",
        affected: &[([1, 1, 0], [5, 2, 5]), ([6, 0, 0], [6, 2, 4]), ([7, 0, 0], [7, 5, 11]), ([8, 0, 0], [8, 21, 0])],
    },
    Hole { id: "CVE-2026-45736", library: "ws", affected: &[([8, 0, 0], [8, 20, 1])] },
    Hole {
        id: "CVE-2024-37890",
        library: "ws",
        affected: &[([0; 3], [5, 2, 4]), ([6, 0, 0], [6, 2, 3]), ([7, 0, 0], [7, 5, 10]), ([8, 0, 0], [8, 17, 1])],
    },
    Hole { id: "CVE-2021-32640", library: "ws", affected: &[([0; 3], [6, 2, 2]), ([7, 0, 0], [7, 4, 6])] },
    Hole { id: "CVE-2016-10542", library: "ws", affected: &[([0; 3], [1, 1, 1])] },
    Hole { id: "CVE-2026-102599", library: "engine.io", affected: &[([6, 6, 0], [6, 6, 10])] },
    Hole { id: "CVE-2026-59725", library: "engine.io", affected: &[([0; 3], [6, 6, 7])] },
    Hole { id: "CVE-2026-54466", library: "websocket-driver", affected: &[([0; 3], [0, 7, 5])] },
    Hole { id: "CVE-2026-69243", library: "aiohttp", affected: &[([0; 3], [3, 14, 2])] },
    Hole { id: "CVE-2026-54274", library: "aiohttp", affected: &[([0; 3], [3, 14, 1])] },
    Hole { id: "CVE-2025-47287", library: "tornado", affected: &[([0; 3], [6, 5, 0])] },
    Hole { id: "CVE-2024-52804", library: "tornado", affected: &[([0; 3], [6, 4, 2])] },
    Hole { id: "CVE-2021-33880", library: "websockets (Python)", affected: &[([0; 3], [9, 1, 0])] },
    Hole { id: "CVE-2018-1000518", library: "websockets (Python)", affected: &[([4, 0, 0], [5, 0, 0])] },
    Hole { id: "CVE-2026-6278", library: "gorilla/websocket", affected: &[([0; 3], [1, 5, 3])] },
    Hole { id: "CVE-2020-27813", library: "gorilla/websocket", affected: &[([0; 3], [1, 4, 1])] },
    Hole {
        id: "CVE-2026-79677",
        library: "Tomcat",
        affected: &[([7, 0, 43], [9, 0, 122]), ([10, 1, 0], [10, 1, 60]), ([11, 0, 0], [11, 0, 26])],
    },
    Hole {
        id: "CVE-2024-23672",
        library: "Tomcat",
        affected: &[([8, 5, 0], [8, 5, 99]), ([9, 0, 0], [9, 0, 86]), ([10, 1, 0], [10, 1, 19])],
    },
];

/// A library that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) library: &'static str,
    /// As it was written.
    pub(super) version: Option<String>,
    within: (Version, Version),
}

impl Found {
    /// For evidence: `ws, from 8.7.0, below 8.18.3`.
    pub(super) fn shown(&self) -> String {
        let write = |version: Version| version.map(|part| part.to_string()).join(".");
        match (&self.version, self.within) {
            (Some(version), _) => format!("{} {version}", self.library),
            (None, (from, below)) => {
                let from = if from == ANY.0 { String::new() } else { format!(", from {}", write(from)) };
                let below = if below == ANY.1 { String::new() } else { format!(", below {}", write(below)) };
                format!("{}{from}{below}", self.library)
            }
        }
    }

    /// The holes that every version of this kind has, and those that some may have with the version that has them no
    /// more.
    pub(super) fn holes(&self) -> (Vec<&'static str>, Vec<String>) {
        let (from, below) = self.within;
        let (mut sure, mut open) = (Vec::new(), Vec::new());
        for hole in HOLES.iter().filter(|hole| hole.library == self.library) {
            if hole.affected.iter().any(|(start, fixed)| *start <= from && below <= *fixed) {
                sure.push(hole.id);
            } else if let Some((_, fixed)) =
                hole.affected.iter().rfind(|(start, fixed)| *start < below && from < *fixed)
            {
                open.push(format!("{} below {}", hole.id, fixed.map(|part| part.to_string()).join(".")));
            }
        }
        (sure, open)
    }
}

/// The library that gave one of these answers; one that tells its version before one that does not.
pub(super) fn recognised(answers: &[String]) -> Option<Found> {
    let mut found = None;
    for sign in SIGNS {
        let Ok(pattern) = Regex::new(&format!("(?i){}", sign.pattern)) else { continue };
        let Some(hit) = answers.iter().find_map(|answer| pattern.captures(answer)) else { continue };
        let version = hit.name("v").map(|version| version.as_str().trim_matches('.').to_owned());
        let exact = version.as_deref().and_then(parse);
        // One version: from it, and below the next.
        let within = exact.map_or(sign.within, |[a, b, c]| ([a, b, c], [a, b, c.saturating_add(1)]));
        let hit = Found { library: sign.library, version, within };
        if hit.version.is_some() {
            return Some(hit);
        }
        found = found.or(Some(hit));
    }
    found
}

fn parse(text: &str) -> Option<Version> {
    let mut parts = text.split('.').map(str::parse);
    let mut next = || parts.next().unwrap_or(Ok(0)).ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_can_be_read() {
        for sign in SIGNS {
            assert!(Regex::new(sign.pattern).is_ok(), "{}", sign.pattern);
        }
        for hole in HOLES {
            assert!(SIGNS.iter().any(|sign| sign.library == hole.library), "nobody is recognised as {}", hole.library);
        }
    }

    #[test]
    fn libraries_are_told_apart() {
        let refusal = |more: &str, body: &str| {
            format!("400\nconnection: close\ncontent-type: text/html\ncontent-length: {}\n{more}\n{body}", body.len())
        };
        let version = "Missing or invalid Sec-WebSocket-Version header";
        for (name, answer, want, sure) in [
            ("ws of today", refusal("sec-websocket-version: 13, 8\n", version), Some("ws, from 8.18.3"), 0),
            ("ws of yesterday", refusal("", version), Some("ws, from 8.7.0, below 8.18.3"), 3),
            ("ws of old", refusal("", "Bad Request"), Some("ws, below 8.7.0"), 1),
            ("aiohttp", "400\nserver: Python/3.11 aiohttp/3.8.6\n\n".into(), Some("aiohttp 3.8.6"), 2),
            ("aiohttp, mended", "400\nserver: Python/3.11 aiohttp/3.14.2\n\n".into(), Some("aiohttp 3.14.2"), 0),
            ("tornado", "404\nserver: TornadoServer/5.0\n\n".into(), Some("tornado 5.0"), 2),
            ("Tomcat", "404\n\n<h3>Apache Tomcat/9.0.80</h3>".into(), Some("Tomcat 9.0.80"), 2),
            ("nobody", "400\ncontent-length: 0\n\n".into(), None, 0),
            ("a page about ws", "200\n\nMissing or invalid Sec-WebSocket-Version header".into(), None, 0),
        ] {
            let found = recognised(&[answer]);
            assert_eq!(found.as_ref().map(Found::shown).as_deref(), want, "{name}");
            let holes = found.map(|found| found.holes().0).unwrap_or_default();
            assert_eq!(holes.len(), sure, "{name}: {holes:?}");
        }
        let (sure, open) = recognised(&[refusal("sec-websocket-version: 13, 8\n", version)]).unwrap().holes();
        assert!(sure.is_empty() && open.contains(&"CVE-2026-62389 below 8.21.1".to_owned()), "{open:?}");
    }
}
