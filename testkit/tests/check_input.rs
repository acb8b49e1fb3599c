//! WSA-IN-02 and the following against scripted peers: good, bad, silent, and the trap. 01 is in `check_models.rs`.

#![expect(clippy::indexing_slicing, reason = "for tests: what does not come as expected is a failed test")]

use serde_json::{Value, json};
use testkit::scripted::{Out, Script, answer, verdict, verdict_with};
use wsguard_audit::Options;
use wsguard_audit::Status::{self, Fail, Pass, Unknown, Warn};

#[track_caller]
fn is(name: &str, (found, told): &(Status, String), want: Status) {
    assert_eq!(*found, want, "{name}: {told}");
}

fn error(code: &str) -> Vec<Out> {
    vec![Out::Text(json!({"type": "error", "code": code}).to_string())]
}

/// Takes `{"type":"echo","text":"…"}` and nothing else.
fn strict() -> Script {
    Script::good().on_text(|_, text| {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return error("invalid_json") };
        let is_message = value.as_object().is_some_and(|object| object.len() == 2)
            && value["type"] == "echo"
            && value["text"]
                .as_str()
                .is_some_and(|text| !text.contains(|letter: char| !letter.is_ascii_alphanumeric()))
            && text.matches(':').count() == 2;
        if is_message { vec![Out::Text(value.to_string())] } else { error("invalid_message") }
    })
}

/// Takes whatever has a `text`, and does with it as `with` does.
fn lenient(with: impl Fn(&str, &Value) -> String + Send + Sync + 'static) -> Script {
    Script::good().on_text(move |_, text| match serde_json::from_str::<Value>(text) {
        Ok(value) if !value["text"].is_null() => vec![Out::Text(with(text, &value))],
        _ => error("invalid"),
    })
}

fn echo(value: &Value) -> String {
    json!({"type": "echo", "text": value["text"]}).to_string()
}

fn flat(options: &mut Options) {
    options.send = Some(r#"{"type":"echo","text":"{marker}"}"#.into());
    options.expect = Some("{marker}".into());
}

#[tokio::test(flavor = "multi_thread")]
async fn schema() {
    let id = "WSA-IN-02";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    is("bad", &verdict_with(lenient(|_, value| echo(value)), id, flat).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: a payload may be anything", &verdict(Script::good(), id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_members() {
    let id = "WSA-IN-03";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    is("bad", &verdict(Script::good(), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let one = Script::good().on_text(|_, text| if text.contains("\\u00") { answer(text) } else { error("x") });
    is("trap: nothing is served", &verdict(one, id).await, Unknown);
    let escaped = Script::good().on_text(|_, text| match text.matches("\"type\"").count() {
        1 => answer(text),
        _ => error("duplicate"),
    });
    is("compared before unescaping", &verdict(escaped, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting() {
    let id = "WSA-IN-04";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    let bounded = Script::good().on_text(|_, text| match text.matches('[').count() {
        0..=32 => answer(text),
        _ => error("too_deep"),
    });
    is("bounded", &verdict(bounded, id).await, Pass);
    let deep = Script::good().on_text(|_, text| answer(&text.replace(['[', ']'], "").replace(":,", ":0,")));
    is("not bounded", &verdict(deep, id).await, Warn);
    let dies = Script::good().on_text(|_, text| match text.matches('[').count() {
        0..=100 => answer(text),
        _ => vec![Out::Close(1011)],
    });
    is("bad", &verdict(dies, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let closes = Script::good().on_text(|_, text| match text.matches('[').count() {
        0 => answer(text),
        _ => vec![Out::Close(1007)],
    });
    is("trap: a list is refused anywhere", &verdict(closes, id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers() {
    let id = "WSA-IN-05";
    // serde_json refuses 1E400 and NaN; 300 digits become a double.
    let good = lenient(|text, value| if text.contains("777") { r#"{"error":1}"#.into() } else { echo(value) });
    is("good", &verdict_with(good, id, flat).await, Pass);
    is("bad: 300 digits become a double", &verdict_with(lenient(|_, value| echo(value)), id, flat).await, Fail);
    let hides = lenient(|text, value| if text.contains("\"m\"") { r#"{"error":1}"#.into() } else { echo(value) });
    is("taken, and not shown", &verdict_with(hides, id, flat).await, Warn);
    let rounds = Script::good().on_text(|_, text| {
        let text = text.replace("9007199254740993", "9007199254740992");
        serde_json::from_str::<Value>(&text).map_or_else(|_| error("x"), |_| vec![Out::Text(text)])
    });
    is("rounds", &verdict_with(rounds, id, flat).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: no place for a number", &verdict_with(strict(), id, flat).await, Unknown);
    let counts = |options: &mut Options| {
        options.send = Some(r#"{"type":"echo","text":"{marker}","n":1}"#.into());
        options.expect = Some("{marker}".into());
    };
    // Takes no further member, and whole numbers of 32 bits alone.
    let whole = Script::good().on_text(|_, text| match serde_json::from_str::<Value>(text) {
        Ok(value) if value["n"].as_i64().is_some_and(|n| n.abs() < 1 << 31) && value["wsguardAudit"].is_null() => {
            vec![Out::Text(value.to_string())]
        }
        _ => error("invalid"),
    });
    is("good: the message has a number of its own", &verdict_with(whole, id, counts).await, Pass);
    let double = Script::good().on_text(|_, text| match serde_json::from_str::<Value>(text) {
        Ok(value) => vec![Out::Text(json!({"text": value["text"], "n": value["n"].as_f64()}).to_string())],
        _ => error("invalid"),
    });
    is("bad: its own number becomes a double", &verdict_with(double, id, counts).await, Fail);
}

#[tokio::test(flavor = "multi_thread")]
async fn prototype_keys() {
    let id = "WSA-IN-06";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    let stains = std::sync::Mutex::new(String::new());
    let bad = lenient(move |_, value| {
        let mut held = stains.lock().unwrap();
        if let Some(stain) = value["__proto__"].as_object().and_then(|object| object.keys().next()) {
            held.clone_from(stain);
        }
        json!({"type": "echo", "text": value["text"], held.as_str(): 1}).to_string()
    });
    is("bad", &verdict_with(bad, id, flat).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: taken without an effect", &verdict(Script::good(), id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_characters() {
    let id = "WSA-IN-07";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    let traces = Script::good().on_text(|_, text| match answer(text) {
        outs if text.contains("ud800") => {
            drop(outs);
            vec![Out::Text(json!({"error": "Traceback (most recent call last):"}).to_string())]
        }
        outs => outs,
    });
    is("bad", &verdict(traces, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("bad: all is taken", &verdict(Script::good(), id).await, Warn);
    let turns = Script::good().on_text(|_, text| {
        let is_odd = ["\\u0000", "\\ud800", "\t", "\u{feff}"].iter().any(|sign| text.contains(sign));
        if is_odd { vec![Out::Text(json!({"error": "malformed"}).to_string())] } else { answer(text) }
    });
    is("trap: text from right to left", &verdict(turns, id).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn markup() {
    let id = "WSA-IN-08";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    let encodes = lenient(|_, value| echo(value).replace('<', "&lt;"));
    is("encodes", &verdict_with(encodes, id, flat).await, Pass);
    let html = lenient(|_, value| json!({"type": "echo", "bodyHtml": value["text"]}).to_string());
    is("bad", &verdict_with(html, id, flat).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: raw in JSON", &verdict_with(lenient(|_, value| echo(value)), id, flat).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn injection() {
    let id = "WSA-IN-09";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    let template = lenient(|_, value| {
        let text = value["text"].as_str().unwrap_or_default();
        let product = text.split_once("{{").and_then(|(_, rest)| rest.strip_suffix("}}")?.split_once('*'));
        let product = product.map_or(0, |(a, b)| a.parse::<u64>().unwrap() * b.parse::<u64>().unwrap());
        json!({"type": "echo", "text": text.split('{').next(), "out": product}).to_string()
    });
    is("bad: template", &verdict_with(template, id, flat).await, Fail);
    let database = lenient(|text, value| {
        if text.contains('\'') { json!({"error": "unrecognized token: near x"}).to_string() } else { echo(value) }
    });
    is("bad: database", &verdict_with(database, id, flat).await, Fail);
    let wide = lenient(|text, value| {
        if text.contains("$ne") {
            json!({"type": "echo", "rows": vec!["somebody else"; 40]}).to_string()
        } else {
            echo(value)
        }
    });
    is("bad: operator", &verdict_with(wide, id, flat).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("trap: literally back", &verdict_with(lenient(|_, value| echo(value)), id, flat).await, Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn size() {
    let id = "WSA-IN-10";
    is("good", &verdict(Script::good(), id).await, Pass);
    is("bad", &verdict(Script::good().size(4 << 20), id).await, Warn);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let dies = Script::good().on_text(|_, text| if text.len() > 60_000 { Vec::new() } else { answer(text) });
    is("trap: no answer is no refusal", &verdict(dies.size(4 << 20), id).await, Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_messages() {
    let id = "WSA-IN-11";
    is("good", &verdict(Script::good(), id).await, Pass);
    let pickle = Script::good().on_frame(|_, got| {
        (got.opcode == 2).then(|| vec![Out::Text(json!({"error": "_pickle.UnpicklingError"}).to_string())])
    });
    is("bad", &verdict(pickle, id).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    let both = Script::good()
        .on_frame(|_, got| (got.opcode == 2).then(|| answer(std::str::from_utf8(&got.payload).unwrap_or_default())));
    is("trap: both kinds by design", &verdict(both, id).await, Warn);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_server() {
    let id = "WSA-IN-12";
    is("good", &verdict_with(strict(), id, flat).await, Pass);
    let takes =
        lenient(|_, value| json!({"user": {"name": "a", "role": value["role"]}, "text": value["text"]}).to_string());
    is("bad", &verdict_with(takes, id, flat).await, Fail);
    is("silent", &verdict(Script::silent(), id).await, Unknown);
    is("dropped", &verdict(Script::good(), id).await, Pass);
    let mirror = lenient(|text, _| text.to_owned());
    is("trap: a mirror", &verdict_with(mirror, id, flat).await, Unknown);
}
