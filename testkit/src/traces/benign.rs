//! Honest clients, some of them tiresome.

use super::{Character, Scene, What, Wire};

pub(super) const ALL: &[Character] = &[
    Character {
        name: "chatting person",
        does: "reads a room, writes now and then, sometimes in a rush, scrolls back",
        hostile: false,
        play: chatter,
    },
    Character {
        name: "typing indicator",
        does: "a chat client that tells of every pause and return to the keys, always with the same payload",
        hostile: false,
        play: typist,
    },
    Character {
        name: "telemetry",
        does: "a sensor: one reading at a fixed interval, values that often repeat, a backlog after an outage",
        hostile: false,
        play: telemetry,
    },
    Character {
        name: "trader",
        does: "hears quotes all day, then sends orders and cancels by the dozen when the market moves",
        hostile: false,
        play: trader,
    },
    Character {
        name: "game at 20 Hz",
        does: "a lobby, then matches with twenty inputs a second, many of them the same",
        hostile: false,
        play: player,
    },
    Character {
        name: "collaborative editor",
        does: "bursts of keystrokes and cursor moves, a paste of many KiB, conflicts that are refused",
        hostile: false,
        play: editor,
    },
    Character {
        name: "mobile on a bad network",
        does: "a chatting person who loses the connection every few minutes, changes networks and sends again",
        hostile: false,
        play: mobile,
    },
    Character {
        name: "batch importer",
        does: "silent, then thousands of large rows as fast as it may, some files full of rows that are refused",
        hostile: false,
        play: importer,
    },
    Character {
        name: "watching dashboard",
        does: "hears a lot and says almost nothing but a presence at an interval",
        hostile: false,
        play: watcher,
    },
];

fn text_bytes(scene: &mut Scene) -> u32 {
    90 + scene.random.lognormal(38.0, 0.8).min(3_500.0) as u32
}

/// A client joins its rooms and asks for what was said, as its program does or as its person clicks.
fn enter(scene: &mut Scene, wire: &mut Wire) {
    let first = if scene.random.chance(0.7) {
        scene.random.lognormal(120.0, 0.7)
    } else {
        scene.random.lognormal(2_500.0, 0.8)
    };
    scene.say_new(wire, first as u64, "join", 110);
    let asked = scene.random.lognormal(60.0, 0.8) as u64;
    scene.say_new(wire, asked, "history", 120);
    let old = scene.random.lognormal(9_000.0, 0.6) as u32;
    scene.hear(wire, 20, old);
}

/// One thing that a person writes; a few words are written again and again.
fn utter(scene: &mut Scene, wire: &mut Wire, after: u64) {
    let bytes = text_bytes(scene);
    if scene.random.chance(0.004) {
        scene.refused(wire, after, bytes);
    } else if scene.random.chance(0.05) {
        let common = scene.random.whole(0, 7);
        scene.say(wire, after, "chat", 100, common);
    } else {
        scene.say_new(wire, after, "chat", bytes);
    }
    scene.hear(wire, 5, bytes + 60);
}

/// The time until a person writes again: mostly within a talk, sometimes after a while away.
fn thought(scene: &mut Scene) -> u64 {
    let rush = scene.random.chance(0.25);
    let away = scene.random.chance(0.06);
    let median = if away {
        420_000.0
    } else if rush {
        2_600.0
    } else {
        16_000.0
    };
    scene.random.lognormal(median, 0.8).max(400.0) as u64
}

fn chat_until(scene: &mut Scene, wire: &mut Wire, end: u64, types: bool) {
    while wire.at < end {
        let after = thought(scene);
        if scene.random.chance(0.03) {
            wire.at += after;
            for _ in 0..scene.random.whole(1, 5) {
                let read = scene.random.lognormal(3_500.0, 0.7) as u64;
                scene.say_new(wire, read, "history", 122);
                let old = scene.random.lognormal(9_000.0, 0.6) as u32;
                scene.hear(wire, 20, old);
            }
            continue;
        }
        if scene.random.chance(0.01) {
            wire.at += after;
            for _ in 0..scene.random.whole(1, 3) {
                let look = scene.random.lognormal(5_000.0, 0.7) as u64;
                scene.say_new(wire, look, "profile", 115);
                scene.hear(wire, 15, 700);
            }
            continue;
        }
        if !types {
            utter(scene, wire, after);
            continue;
        }
        // The indicator comes on with the first key, again every few seconds, and goes off with the message.
        let keys = scene.random.whole(1, 6);
        wire.at += after;
        for _ in 0..keys {
            let pause = scene.random.lognormal(2_200.0, 0.4) as u64;
            scene.say(wire, pause, "typing", 96, 1);
        }
        if scene.random.chance(0.12) {
            scene.say(wire, 5_000, "typing", 97, 2);
        } else {
            let last = scene.random.lognormal(700.0, 0.5) as u64;
            utter(scene, wire, last);
        }
    }
}

fn room(scene: &mut Scene, wire: &Wire, from: u64, to: u64) {
    let every = scene.random.lognormal(9_000.0, 0.9);
    scene.overhear(wire, from, to, every, 170.0);
}

pub(super) fn chatter(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    enter(scene, &mut wire);
    let end = scene.length;
    room(scene, &wire.clone(), 0, end);
    chat_until(scene, &mut wire, end, false);
}

fn typist(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    enter(scene, &mut wire);
    let end = scene.length;
    room(scene, &wire.clone(), 0, end);
    chat_until(scene, &mut wire, end, true);
}

fn telemetry(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "device");
    let every = scene.random.of(&[2_000.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0]);
    let jitter = scene.random.between(0.002, 0.05);
    let bytes = scene.random.whole(120, 420) as u32;
    let moves = scene.random.between(0.1, 1.0);
    let mut value = 0;
    scene.say_new(&mut wire, 40, "status", 180);
    while wire.at < scene.length {
        let after = scene.random.jitter(every, jitter);
        if scene.random.chance(moves) {
            value = scene.random.next();
        }
        let drift = scene.random.whole(0, 6) as u32;
        scene.say(&mut wire, after, "reading", bytes + drift, value);
        if scene.random.chance(0.01) {
            scene.say_new(&mut wire, 3, "status", 180);
        }
        if scene.random.chance(0.000_4 * every / 10_000.0) {
            // An outage: it comes back from the same place and sends what it kept.
            let outage = scene.random.lognormal(90_000.0, 0.8) as u64;
            scene.gone(&wire);
            wire = scene.connect(wire.at + outage, 1, "device");
            scene.say_new(&mut wire, 35, "status", 180);
            for _ in 0..(outage as f64 / every).min(600.0) as u64 {
                scene.say_new(&mut wire, 60, "reading", bytes);
            }
        }
    }
}

fn trader(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "trader");
    for _ in 0..scene.random.whole(3, 20) {
        let after = scene.random.lognormal(35.0, 0.5) as u64;
        scene.say_new(&mut wire, after, "subscribe", 105);
    }
    let every = scene.random.lognormal(220.0, 0.6);
    scene.overhear(&wire.clone(), 0, scene.length, every, 150.0);
    while wire.at < scene.length {
        let calm = scene.random.exponential(150_000.0) as u64;
        wire.at += calm;
        let orders = scene.random.lognormal(9.0, 1.1).min(400.0) as u64;
        let pace = scene.random.lognormal(450.0, 0.8);
        for _ in 0..orders {
            let after = scene.random.lognormal(pace, 0.7).max(70.0) as u64;
            if scene.random.chance(0.02) {
                scene.refused(&mut wire, after, 190);
            } else if scene.random.chance(0.4) {
                scene.say_new(&mut wire, after, "cancel", 120);
            } else {
                let bytes = scene.random.whole(170, 210) as u32;
                scene.say_new(&mut wire, after, "order", bytes);
            }
            scene.hear(&wire, 4, 160);
        }
    }
}

fn player(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "player");
    while wire.at < scene.length {
        for _ in 0..scene.random.whole(1, 12) {
            let after = scene.random.lognormal(6_000.0, 0.9) as u64;
            scene.say_new(&mut wire, after, "lobby", 110);
            scene.hear(&wire, 10, 900);
        }
        let match_ends = wire.at + scene.random.lognormal(420_000.0, 0.4) as u64;
        let held = scene.random.between(0.5, 0.92);
        let mut input = scene.random.next();
        while wire.at < match_ends.min(scene.length) {
            if !scene.random.chance(held) {
                input = scene.random.next();
            }
            // The frame clock of a game, with the hiccups of a browser.
            let after = if scene.random.chance(0.01) {
                scene.random.lognormal(120.0, 0.5) as u64
            } else {
                scene.random.jitter(50.0, 0.12)
            };
            scene.say(&mut wire, after, "input", 118, input);
            scene.hear(&wire, 2, 420);
        }
        wire.at += scene.random.lognormal(40_000.0, 0.7) as u64;
    }
}

fn editor(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "editor");
    scene.say_new(&mut wire, 90, "join", 112);
    scene.hear(&wire, 40, 60_000);
    let busy = scene.random.lognormal(1_500.0, 0.8);
    scene.overhear(&wire.clone(), 0, scene.length, busy, 140.0);
    while wire.at < scene.length {
        wire.at += scene.random.lognormal(9_000.0, 1.2) as u64;
        let keys = scene.random.lognormal(24.0, 0.9).min(900.0) as u64;
        let pace = scene.random.lognormal(190.0, 0.3);
        for _ in 0..keys {
            let after = scene.random.lognormal(pace, 0.5).max(25.0) as u64;
            if scene.random.chance(0.015) {
                scene.refused(&mut wire, after, 150);
            } else if scene.random.chance(0.25) {
                scene.say_new(&mut wire, after, "cursor", 104);
            } else {
                let bytes = scene.random.whole(130, 160) as u32;
                scene.say_new(&mut wire, after, "edit", bytes);
            }
        }
        if scene.random.chance(0.04) {
            let bytes = scene.random.lognormal(5_000.0, 1.0).min(60_000.0) as u32;
            scene.say_new(&mut wire, 800, "paste", bytes);
        }
    }
}

fn mobile(scene: &mut Scene) {
    let (home, mut prefix) = (1, 1);
    let mut at = 0;
    while at < scene.length {
        let mut wire = scene.connect(at, prefix, "user");
        enter(scene, &mut wire);
        let end = at + scene.random.lognormal(240_000.0, 1.0) as u64;
        room(scene, &wire.clone(), at, end);
        // What was under way when the connection broke is sent again.
        for _ in 0..scene.random.whole(0, 3) {
            scene.push(&wire, What::Duplicate { bytes: 140 });
            wire.at += 30;
        }
        while wire.at < end {
            let after = thought(scene);
            if scene.random.chance(0.08) {
                // Held up on the way: several arrive at once.
                wire.at += after;
                for _ in 0..scene.random.whole(2, 6) {
                    utter(scene, &mut wire, 2);
                }
            } else {
                utter(scene, &mut wire, after);
            }
        }
        scene.gone(&wire);
        at = wire.at + scene.random.lognormal(9_000.0, 1.3) as u64;
        if scene.random.chance(0.3) {
            // Another cell, another network; home again now and then.
            prefix = if scene.random.chance(0.4) { home } else { scene.random.whole(2, 9) as u32 };
        }
    }
}

fn importer(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "importer");
    scene.say_new(&mut wire, 60, "status", 150);
    while wire.at < scene.length {
        wire.at += scene.random.lognormal(500_000.0, 0.9) as u64;
        scene.say_new(&mut wire, 20, "batch", 240);
        let rows = scene.random.lognormal(1_500.0, 0.9).min(12_000.0) as u64;
        let bytes = scene.random.lognormal(4_000.0, 0.9).min(30_000.0);
        let bad = if scene.random.chance(0.15) { scene.random.between(0.05, 0.3) } else { 0.005 };
        for _ in 0..rows {
            let after = scene.random.jitter(75.0, 0.4);
            let length = scene.random.lognormal(bytes, 0.25) as u32;
            if scene.random.chance(bad) {
                scene.refused(&mut wire, after, length);
            } else {
                scene.say_new(&mut wire, after, "row", length);
            }
        }
        scene.say_new(&mut wire, 20, "batch", 180);
        scene.hear(&wire, 200, 900);
    }
}

fn watcher(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    for _ in 0..scene.random.whole(1, 6) {
        let after = scene.random.lognormal(80.0, 0.5) as u64;
        scene.say_new(&mut wire, after, "join", 110);
    }
    let every = scene.random.lognormal(600.0, 0.8);
    scene.overhear(&wire.clone(), 0, scene.length, every, 320.0);
    let present = scene.random.of(&[15_000.0, 30_000.0, 60_000.0]);
    while wire.at < scene.length {
        let after = scene.random.jitter(present, 0.03);
        scene.say(&mut wire, after, "presence", 98, 1);
        if scene.random.chance(0.02) {
            let look = scene.random.lognormal(4_000.0, 0.8) as u64;
            scene.say_new(&mut wire, look, "history", 125);
            scene.hear(&wire, 30, 14_000);
        }
    }
}
