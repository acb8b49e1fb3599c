//! `vectors/hostile` and `vectors/innocent` against a real server: no attack passes as it came, and no innocent message,
//! frame or handshake is refused or changed. What becomes of hostile markup is judged in Chromium, and so is the markup
//! as it was sent, which shows that the judge sees.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::{Value, json};
use testkit::peer::{Peer, masked};
use testkit::world::{PATIENCE, Scratch, TOKEN, World};

/// The controls, without the quotas: hundreds of messages come at once.
fn world() -> World {
    World::dev(&[
        ("WSGUARD_RATE__MODE", "shadow"),
        ("WSGUARD_PENALTY__MODE", "shadow"),
        ("WSGUARD_ANOMALY__MODE", "shadow"),
    ])
}

fn file(name: &str) -> Value {
    let path = format!("{}/../vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("read {path}: {error}"))).unwrap()
}

/// A list of vectors, each with a name of its own and where it comes from.
fn checked(cases: &Value) -> Vec<Value> {
    let cases = cases.as_array().unwrap().clone();
    let mut names = BTreeSet::new();
    for case in &cases {
        assert!(names.insert(case["name"].as_str().unwrap().to_owned()), "{} is there twice", case["name"]);
        assert!(
            case["from"].as_str().is_some_and(|from| from.len() > 5),
            "{} says not where it comes from",
            case["name"]
        );
    }
    cases
}

fn vectors(name: &str) -> Vec<Value> {
    checked(&file(name))
}

/// Fails with everything that went wrong, not with the first of it.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_hostile_message_reaches_the_application() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/json");
    assert!(cases.len() >= 250);
    for group in cases.chunks(50) {
        let mut peer = world.join("dev");
        for case in group {
            let text = case["text"].as_str().unwrap().replace("$CSRF", peer.csrf());
            peer.send_text(&text);
            let answer = peer.read();
            if answer["type"] != "error" || answer["payload"]["code"] != case["refused"] {
                wrong.push(format!("{}: expected {}, got {answer}", case["name"], case["refused"]));
            }
        }
        // The connection lives on, and nothing else came.
        peer.say("echo", 7, &json!("still here"));
        assert_eq!(peer.expect("echo"), json!("still here"));
    }
    none(&wrong);
}

#[test]
fn every_hostile_frame_ends_its_connection_with_its_code() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/wire");
    assert!(cases.len() >= 100);
    for case in &cases {
        let mut peer = world.join("dev");
        // What stands behind the breach is whole and proper, and is not handled either.
        let behind = json!({"type": "echo", "csrfToken": peer.csrf(), "id": 1, "payload": "behind"}).to_string();
        peer.send_bytes(&[bytes_of(&case["parts"]), masked(0x81, behind.as_bytes())].concat());
        let (before, close) = until_close(&mut peer, case["pongs"] == true);
        // One error may say why; an answer would be the application's.
        let is_told = before.len() <= 1 && before.iter().all(|frame| frame.starts_with(r#"1: {"type":"error""#));
        if close.map(Value::from).as_ref() != Some(&case["close"]) || !is_told {
            wrong.push(format!("{}: expected {}, got {close:?} after {before:?}", case["name"], case["close"]));
        }
    }
    none(&wrong);
}

/// The frames that came before the close, and its code. The server's own pings are passed over, and so are answers to
/// those of the peer where some are to be expected.
fn until_close(peer: &mut Peer, with_pongs: bool) -> (Vec<String>, Option<u16>) {
    let mut before = Vec::new();
    while let Some(frame) = peer.read_frame() {
        match frame.opcode {
            8 => return (before, frame.close_code()),
            9 => {}
            10 if with_pongs => {}
            opcode => before.push(format!("{opcode}: {}", String::from_utf8_lossy(&frame.payload))),
        }
    }
    (before, None)
}

fn bytes_of(parts: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts.as_array().unwrap() {
        let times = usize::try_from(part["times"].as_u64().unwrap()).unwrap();
        bytes.extend(unhex(part["hex"].as_str().unwrap()).repeat(times));
    }
    bytes
}

#[test]
fn every_hostile_handshake_is_refused_with_its_status() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/handshake");
    assert!(cases.len() >= 120);
    for case in &cases {
        let request = request_of(&world, case);
        let mut stream = TcpStream::connect(world.endpoint).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        if status.map(Value::from).as_ref() != Some(&case["status"]) {
            wrong.push(format!("{}: expected {}, got {status:?}", case["name"], case["status"]));
        } else if request.starts_with("HEAD") {
            // An answer to HEAD has no body (RFC 9110 §9.3.2).
        } else if !answer.contains("\"ref\":\"") {
            wrong.push(format!("{}: no reference in {answer:?}", case["name"]));
        }
    }
    none(&wrong);
}

/// The request of a vector, with what only the running server knows.
fn request_of(world: &World, case: &Value) -> String {
    let lines: Vec<_> = case["request"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let body = case["body"].as_str().unwrap_or_default();
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
        .replace("$HOST", &format!("localhost:{}", world.endpoint.port()))
        .replace("$PORT", &world.endpoint.port().to_string())
        .replace("$TOKEN", TOKEN)
}

#[test]
fn there_are_as_many_innocent_vectors_as_hostile_ones_and_none_is_there_twice() {
    let count = |names: &[&str]| names.iter().map(|name| vectors(name).len()).sum::<usize>();
    let hostile =
        count(&["hostile/handshake", "hostile/identity", "hostile/injection", "hostile/json", "hostile/wire"]);
    let messages = count(&["innocent/text", "innocent/payload"]);
    assert!(messages >= hostile, "{messages} innocent messages, {hostile} hostile vectors");
    let mut wrong = Vec::new();
    for (name, member) in [("text", "text"), ("payload", "payload"), ("wire", "parts"), ("handshake", "request")] {
        let mut seen = BTreeSet::new();
        for case in vectors(&format!("innocent/{name}")) {
            if !seen.insert(case[member].to_string()) {
                wrong.push(format!("{name}: {} says what another says", case["name"]));
            }
        }
    }
    none(&wrong);
}

/// The scripts of Unicode 16, by their names in Scripts.txt. The vectors have the four of Unicode 17 as well, which the
/// tables at hand do not know.
#[rustfmt::skip]
const SCRIPTS: &[&str] = &[
    "Adlam", "Ahom", "Anatolian_Hieroglyphs", "Arabic", "Armenian", "Avestan", "Balinese", "Bamum", "Bassa_Vah",
    "Batak", "Bengali", "Bhaiksuki", "Bopomofo", "Brahmi", "Braille", "Buginese", "Buhid", "Canadian_Aboriginal",
    "Carian", "Caucasian_Albanian", "Chakma", "Cham", "Cherokee", "Chorasmian", "Coptic", "Cuneiform", "Cypriot",
    "Cypro_Minoan", "Cyrillic", "Deseret", "Devanagari", "Dives_Akuru", "Dogra", "Duployan", "Egyptian_Hieroglyphs",
    "Elbasan", "Elymaic", "Ethiopic", "Garay", "Georgian", "Glagolitic", "Gothic", "Grantha", "Greek", "Gujarati",
    "Gunjala_Gondi", "Gurmukhi", "Gurung_Khema", "Han", "Hangul", "Hanifi_Rohingya", "Hanunoo", "Hatran", "Hebrew",
    "Hiragana", "Imperial_Aramaic", "Inscriptional_Pahlavi", "Inscriptional_Parthian", "Javanese", "Kaithi",
    "Kannada", "Katakana", "Kawi", "Kayah_Li", "Kharoshthi", "Khitan_Small_Script", "Khmer", "Khojki", "Khudawadi",
    "Kirat_Rai", "Lao", "Latin", "Lepcha", "Limbu", "Linear_A", "Linear_B", "Lisu", "Lycian", "Lydian", "Mahajani",
    "Makasar", "Malayalam", "Mandaic", "Manichaean", "Marchen", "Masaram_Gondi", "Medefaidrin", "Meetei_Mayek",
    "Mende_Kikakui", "Meroitic_Cursive", "Meroitic_Hieroglyphs", "Miao", "Modi", "Mongolian", "Mro", "Multani",
    "Myanmar", "Nabataean", "Nag_Mundari", "Nandinagari", "New_Tai_Lue", "Newa", "Nko", "Nushu",
    "Nyiakeng_Puachue_Hmong", "Ogham", "Ol_Chiki", "Ol_Onal", "Old_Hungarian", "Old_Italic", "Old_North_Arabian",
    "Old_Permic", "Old_Persian", "Old_Sogdian", "Old_South_Arabian", "Old_Turkic", "Old_Uyghur", "Oriya", "Osage",
    "Osmanya", "Pahawh_Hmong", "Palmyrene", "Pau_Cin_Hau", "Phags_Pa", "Phoenician", "Psalter_Pahlavi", "Rejang",
    "Runic", "Samaritan", "Saurashtra", "Sharada", "Shavian", "Siddham", "SignWriting", "Sinhala", "Sogdian",
    "Sora_Sompeng", "Soyombo", "Sundanese", "Sunuwar", "Syloti_Nagri", "Syriac", "Tagalog", "Tagbanwa", "Tai_Le",
    "Tai_Tham", "Tai_Viet", "Takri", "Tamil", "Tangsa", "Tangut", "Telugu", "Thaana", "Thai", "Tibetan", "Tifinagh",
    "Tirhuta", "Todhri", "Toto", "Tulu_Tigalari", "Ugaritic", "Vai", "Vithkuqi", "Wancho", "Warang_Citi", "Yezidi",
    "Yi", "Zanabazar_Square",
];

#[test]
fn innocent_text_is_written_in_every_script() {
    let cases = vectors("innocent/text");
    let characters: BTreeSet<char> = cases.iter().flat_map(|case| case["text"].as_str().unwrap().chars()).collect();
    let text = String::from_iter(characters);
    let missing: Vec<_> = SCRIPTS
        .iter()
        .filter(|script| !Regex::new(&format!(r"\p{{Script={script}}}")).unwrap().is_match(&text))
        .collect();
    assert!(missing.is_empty(), "no innocent text in {missing:?}");
    // No script of the tables is forgotten here.
    let mut other = String::from(r"[\p{L}\p{M}\p{N}\p{P}\p{S}--[");
    for script in SCRIPTS.iter().chain(&["Common", "Inherited"]) {
        write!(other, r"\p{{Script={script}}}").unwrap();
    }
    other.push_str("]]");
    let other = Regex::new(&other).unwrap();
    let every_character = ('\0'..=char::MAX).collect::<String>();
    assert_eq!(other.find(&every_character).map(|found| found.as_str()), None, "its script is not in the list");
}

#[test]
fn no_innocent_text_is_refused_or_changed() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("innocent/text");
    assert!(cases.len() >= 1_250);
    for group in cases.chunks(50) {
        let mut peer = world.join("ann");
        for (id, case) in group.iter().enumerate() {
            peer.say("chat", id, &json!({"message": case["text"]}));
            let answer = peer.read();
            if answer["type"] != "chat" || answer["payload"]["message"] != case["text"] {
                wrong.push(format!("{} {}: got {answer}", case["name"], case["text"]));
            }
            if answer["type"] == "chat" {
                let _ = peer.expect("ack");
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_innocent_payload_is_refused_or_changed() {
    let world = world();
    let mut wrong = Vec::new();
    let mut peer = world.join("ann");
    let cases = vectors("innocent/payload");
    assert!(cases.len() >= 110);
    for (id, case) in cases.iter().enumerate() {
        peer.say("echo", id, &case["payload"]);
        let answer = peer.read();
        // As text: a number keeps the form it came in.
        let (sent, came_back) = (case["payload"].to_string(), answer["payload"].to_string());
        if answer["type"] != "echo" || came_back != sent {
            wrong.push(format!("{}: got {answer}", case["name"]));
            continue;
        }
        let _ = peer.expect("ack");
    }
    none(&wrong);
}

/// Whatever the protocol permits on the wire: fragments, control frames between them, lengths and masks of every form.
#[test]
fn no_innocent_frame_ends_its_connection() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("innocent/wire");
    assert!(cases.len() >= 60);
    for case in &cases {
        let bytes = bytes_of(&case["parts"]);
        // At once, and where it is short each byte for itself.
        for piece in if bytes.len() < 200 { vec![bytes.len(), 1] } else { vec![bytes.len()] } {
            let mut peer = world.join("dev");
            for part in bytes.chunks(piece) {
                peer.send_bytes(part);
            }
            let closes = !case["close"].is_null();
            if !closes {
                peer.say("echo", 1, &json!("still here"));
            }
            let (mut answers, mut pongs, mut close) = (Vec::new(), Vec::new(), Value::Null);
            while let Some(frame) = peer.read_frame() {
                match frame.opcode {
                    1 => {
                        let answer: Value = serde_json::from_slice(&frame.payload).unwrap();
                        if answer["type"] == "echo" && answer["payload"] == "still here" {
                            break;
                        }
                        answers.push(if answer["type"] == "pong" { answer["payload"]["t"].clone() } else { answer });
                    }
                    8 => {
                        close = json!(frame.close_code());
                        break;
                    }
                    9 => {}
                    _ => pongs.push(hex(&frame.payload)),
                }
            }
            let got = (json!(answers), json!(pongs), close);
            if got != (case["t"].clone(), case["pongs"].clone(), case["close"].clone()) {
                wrong.push(format!("{} in pieces of {piece}: got {got:?}", case["name"]));
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_innocent_handshake_is_refused() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("innocent/handshake");
    assert!(cases.len() >= 40);
    for case in &cases {
        let mut stream = TcpStream::connect(world.endpoint).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request_of(&world, case).as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 1_024];
        // The welcome follows the head; an answer that is none ends with the connection.
        while !answer.windows(9).any(|window| window == b"\"welcome\"") {
            match stream.read(&mut chunk) {
                Ok(count @ 1..) => answer.extend_from_slice(&chunk[..count]),
                Ok(0) | Err(_) => break,
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        if !answer.starts_with("HTTP/1.1 101 ") || !answer.contains("\"welcome\"") {
            wrong.push(format!("{}: got {answer:?}", case["name"]));
        }
        if answer.to_ascii_lowercase().contains("sec-websocket-extensions") {
            wrong.push(format!("{}: an extension was taken: {answer:?}", case["name"]));
        }
    }
    none(&wrong);
}

#[test]
fn no_injection_reaches_the_application() {
    let world = world();
    let mut wrong = Vec::new();
    let cases = vectors("hostile/injection");
    assert!(cases.len() >= 200);
    for group in cases.chunks(40) {
        let mut peer = world.join("dev");
        for (id, case) in group.iter().enumerate() {
            peer.say(case["type"].as_str().unwrap(), id, &case["payload"]);
            let answer = peer.read();
            if answer["type"] != "error" || answer["payload"]["code"] != case["refused"] {
                wrong.push(format!("{}: expected {}, got {answer}", case["name"], case["refused"]));
            }
        }
        peer.say("echo", 1_000, &json!("still here"));
        assert_eq!(peer.expect("echo"), json!("still here"));
    }
    none(&wrong);
}

#[test]
fn nobody_becomes_somebody_by_what_is_no_credential() {
    // One try: also what cannot be read ends the connection.
    let world = World::dev(&[("WSGUARD_PENALTY__MODE", "shadow")]);
    let mut wrong = Vec::new();
    let cases = vectors("hostile/identity");
    assert!(cases.len() >= 110);
    for case in &cases {
        let is_open = case["open"] == true;
        let mut peer = if is_open { world.join("dev") } else { world.upgrade().open() };
        for text in case["say"].as_array().unwrap() {
            peer.send_text(text.as_str().unwrap());
        }
        if is_open {
            // It stays who it was.
            let answer = peer.read();
            if answer["type"] != "error" || answer["payload"]["code"] != case["refused"] {
                wrong.push(format!("{}: expected {}, got {answer}", case["name"], case["refused"]));
            }
            peer.say("chat", 1, &json!({"message": "who am I"}));
            assert_eq!(peer.expect("chat")["from"], "dev");
            continue;
        }
        let mut close = None;
        while let Some(frame) = peer.read_frame() {
            match frame.opcode {
                1 if !String::from_utf8_lossy(&frame.payload).starts_with(r#"{"type":"error""#) => {
                    wrong.push(format!("{}: got {}", case["name"], String::from_utf8_lossy(&frame.payload)));
                }
                8 => {
                    close = frame.close_code();
                    break;
                }
                _ => {}
            }
        }
        if close.map(Value::from).as_ref() != Some(&case["close"]) {
            wrong.push(format!("{}: expected {}, got {close:?}", case["name"], case["close"]));
        }
    }
    none(&wrong);
}

/// The server between two people: what one sends as `chat`, Chromium judges as the other receives it.
#[test]
fn no_hostile_markup_arrives_and_a_browser_finds_nothing_in_what_does() {
    let world = world();
    let (mut wrong, mut arrived) = (Vec::new(), Vec::new());
    let cases = checked(&file("markup")["hostile"]);
    assert!(cases.len() >= 140);
    for group in cases.chunks(40) {
        let mut peer = world.join("ann");
        for (id, case) in group.iter().enumerate() {
            peer.say("chat", id, &json!({"message": case["text"]}));
            let answer = peer.read();
            if answer["type"] == "error" {
                continue;
            }
            let message = &answer["payload"]["message"];
            if *message == case["text"] {
                wrong.push(format!("{}: passed as it came: {message}", case["name"]));
            }
            arrived.push(message.clone());
            let _ = peer.expect("ack");
        }
    }
    none(&wrong);
    assert!(arrived.len() >= 100, "{} of {} arrived in some form", arrived.len(), cases.len());
    assert_eq!(judged(&arrived, &[]), Vec::<Value>::new());
}

/// The same for a field of the class `html`, where structure and emphasis of text may pass, and links to elsewhere.
#[test]
fn a_browser_finds_nothing_but_text_and_links_in_cleaned_html() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("schemas")).unwrap();
    fs::write(scratch.path().join("schemas/echo.json"), r#"{"type": "string", "wsguard:content": "html"}"#).unwrap();
    let world = World::start(
        scratch,
        &["--dev"],
        &[
            ("WSGUARD_MESSAGES__DIR", "schemas"),
            ("WSGUARD_RATE__MODE", "shadow"),
            ("WSGUARD_PENALTY__MODE", "shadow"),
            ("WSGUARD_ANOMALY__MODE", "shadow"),
        ],
    );
    let markup = file("markup");
    let (hostile, innocent) = (checked(&markup["hostile"]), checked(&markup["innocent"]));
    let mut arrived = Vec::new();
    let mut peer = world.join("ann");
    for (id, case) in hostile.iter().chain(&innocent).enumerate() {
        peer.say("echo", id, &case["text"]);
        let answer = peer.read();
        if answer["type"] == "error" {
            continue;
        }
        arrived.push(answer["payload"].clone());
        let _ = peer.expect("ack");
    }
    // Nearly all of it is cleaned and not refused; an article passes as it came, spelt as a browser writes it.
    assert!(arrived.len() >= hostile.len(), "{} arrived", arrived.len());
    let article = "<h1>Title</h1><p>Some <b>bold</b> and <em>said</em> words, <a href=\"https://example.org/?a=1&amp;b=2\" \
                   rel=\"noopener noreferrer nofollow\">a link</a> and <a href=\"mailto:ann@example.org\" \
                   rel=\"noopener noreferrer nofollow\">an address</a>.</p><ul><li>one</li><li>two</li></ul><pre>a &lt; b</pre>\
                   <blockquote>q</blockquote><dl><dt>t</dt><dd>d</dd></dl><hr>";
    peer.say("echo", 1_000, &json!(article));
    assert_eq!(peer.expect("echo"), article);
    arrived.push(json!(article));
    assert_eq!(judged(&arrived, &["--html"]), Vec::<Value>::new());
}

/// The judge sees: of the hostile markup as it was sent it finds everything but what is named here.
#[test]
fn a_browser_finds_the_hostile_markup_that_no_guard_has_seen() {
    finds_all_but(&file("markup")["hostile"], &[], &[INERT]);
}

/// And so it does where text structure and links pass.
#[test]
fn a_browser_finds_the_hostile_markup_where_html_may_pass() {
    finds_all_but(&file("markup")["hostile"], &["--html"], &[INERT, STRUCTURE]);
    // What a cleaner of HTML has to find, each for itself.
    let mut cases = Vec::new();
    for text in [
        "<a href=\"javascript:alert(1)\">x</a>",
        "<a href=\"jav&#x09;ascript:alert(1)\">x</a>",
        "<a href=\"data:text/html,x\">x</a>",
        "<a href=\"/relative\">x</a>",
        "<a href=\"//elsewhere.invalid\">x</a>",
        "<a href=\"https://example.org\" target=\"_blank\">x</a>",
        "<a href=\"https://example.org\" rel=\"opener\">x</a>",
        "<b href=\"https://example.org\">x</b>",
        "<p rel=\"noopener noreferrer nofollow\">x</p>",
        "<p id=\"x\">x</p>",
        "<a name=\"x\">x</a>",
        "<p class=\"x\">x</p>",
        "<p style=\"color:red\">x</p>",
        "<p onclick=\"alert(1)\">x</p>",
        "<ol start=\"2\"><li value=\"3\">x</li></ol>",
        "<q cite=\"https://example.org\">x</q>",
        "<p>x</p><!-- a comment -->",
        "<p><img alt=\"x\"></p>",
        "<h1><svg></svg></h1>",
        "<ul><li><form></form></li></ul>",
        "<p><x-element>x</x-element></p>",
    ] {
        cases.push(json!({"name": text, "from": "docs/protocol.md section 4", "text": text}));
    }
    finds_all_but(&Value::from(cases), &["--html"], &[]);
}

/// What does nothing by itself in today's browsers. The guard makes it harmless all the same: a page puts more behind it
/// or around it, runs a framework or a style sheet over it, or had it read by an older parser.
const INERT: &[&str] = &[
    // Cut off: the parser drops the tag, unless the page goes on.
    "unclosed image",
    "unclosed quote",
    "unclosed known name",
    "unclosed name and slash",
    // They close an element of the page around the text.
    "custom element end",
    "end title",
    "end script",
    "end div",
    "end body",
    "end in upper case",
    "end with attributes",
    // On an element that no browser knows, they act through the page's styles and scripts.
    "content editable",
    "inert",
    "hidden",
    "microdata",
    "aria attribute",
    "framework directive",
    "colon attribute",
    "svg prefix event",
    "empty value",
    // The parser drops it outside of a document's beginning.
    "doctype",
    // Another name to the parser, and the known one to whoever strips a tag or a control character.
    "script in script",
    "NUL in name",
    "vertical tab in name",
];

/// What is hostile in `text`, and structure of text in `html`.
const STRUCTURE: &[&str] = &["end paragraph", "end break", "paragraph", "mark"];

fn finds_all_but(cases: &Value, flags: &[&str], but: &[&[&str]]) {
    let cases = checked(cases);
    let texts: Vec<_> = cases.iter().map(|case| case["text"].clone()).collect();
    let found = judged(&texts, &[flags, &["--each"]].concat());
    let is_found = |case: &Value| found.iter().any(|found| found["text"] == case["text"]);
    let but = but.concat();
    let name = |case: &Value| case["name"].as_str().unwrap().to_owned();
    for known in &but {
        assert!(cases.iter().any(|case| case["name"] == *known), "no vector has the name {known}");
    }
    let missed: Vec<_> = cases
        .iter()
        .filter(|case| !is_found(case) && !but.contains(&&*name(case)))
        .map(|case| format!("{}: {}", name(case), case["text"]))
        .collect();
    none(&missed);
}

/// Shows each text to Chromium, assigned to `innerHTML`, and gives those that ran, loaded, navigated, styled or named
/// anything, with what it was.
fn judged(texts: &[Value], flags: &[&str]) -> Vec<Value> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let modules = root.join("packages/demo/node_modules");
    assert!(modules.is_dir(), "{} is missing: run `make setup`", modules.display());
    // The script is resolved from where playwright-core is installed. Tests beside each other never see half of it.
    let script = modules.join(format!(".hostile-markup-judge-{}-{}.mjs", std::process::id(), flags.concat()));
    fs::copy(root.join("testkit/browser/markup-judge.mjs"), &script).unwrap();
    let mut node =
        Command::new("node").arg(&script).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = texts.iter().map(|text| format!("{text}\n")).collect::<Vec<_>>().concat();
    node.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    fs::remove_file(&script).unwrap();
    let said: Vec<Value> = output.stdout.split(|&byte| byte == b'\n').flat_map(serde_json::from_slice).collect();
    let (last, found) = said.split_last().unwrap_or_else(|| panic!("the judge said nothing: {}", output.status));
    assert_eq!(last["summary"], json!({"strings": texts.len(), "found": found.len()}), "it judged each of them");
    assert_eq!(
        output.status.code(),
        Some(i32::from(!found.is_empty())),
        "the exit code says whether it found anything"
    );
    found.to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}
