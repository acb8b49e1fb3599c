//! Peers that mean harm. Each holds a good credential and keeps to the protocol unless that is the attack.

use super::benign::chatter;
use super::{Character, Scene, What, Wire};

pub(super) const ALL: &[Character] = &[
    Character { name: "spam bot", does: "a few texts, over and over, room after room", hostile: true, play: spam },
    Character {
        name: "scraper",
        does: "asks for page after page of what is there, and takes it all",
        hostile: true,
        play: scraper,
    },
    Character {
        name: "fuzzer",
        does: "tries every type with every payload; most of it is refused",
        hostile: true,
        play: fuzzer,
    },
    Character {
        name: "slow exfiltration",
        does: "one large page every minute or so between a few lines of chat",
        hostile: true,
        play: exfiltration,
    },
    Character {
        name: "beacon",
        does: "an implant that calls home at an interval, a few bytes, the same or encrypted",
        hostile: true,
        play: beacon,
    },
    Character {
        name: "credential stuffing",
        does: "hundreds of refused tokens from a few networks, and a hurried look around where one is good",
        hostile: true,
        play: stuffing,
    },
    Character {
        name: "one token shared by many",
        does: "dozens of people on as many networks with the token of one",
        hostile: true,
        play: shared,
    },
    Character {
        name: "replay",
        does: "what an honest client once sent, again and again and faster",
        hostile: true,
        play: replay,
    },
    Character { name: "flood", does: "as much as goes through, and more", hostile: true, play: flood },
    Character {
        name: "low and slow",
        does: "one guess at a secret every half a minute, between lines of chat",
        hostile: true,
        play: low_and_slow,
    },
    Character {
        name: "takeover",
        does: "a person, until a program takes the session and looks for what it can get",
        hostile: true,
        play: takeover,
    },
];

fn spam(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let pace = scene.random.lognormal(1_100.0, 0.7);
    let jitter = scene.random.between(0.02, 0.5);
    let texts = scene.random.whole(1, 6);
    let varied = scene.random.between(0.0, 0.6);
    let bytes = scene.random.whole(160, 420) as u32;
    while wire.at < scene.length {
        scene.say_new(&mut wire, 150, "join", 110);
        for _ in 0..scene.random.whole(4, 40) {
            let after = scene.random.jitter(pace, jitter);
            if scene.random.chance(varied) {
                scene.say_new(&mut wire, after, "chat", bytes + 8);
            } else {
                let text = scene.random.whole(1, texts);
                scene.say(&mut wire, after, "chat", bytes, text);
            }
            scene.hear(&wire, 4, bytes + 60);
        }
        scene.say_new(&mut wire, 100, "leave", 110);
    }
}

fn take_page(scene: &mut Scene, wire: &mut Wire, after: u64) {
    scene.say_new(wire, after, "history", 128);
    let page = scene.random.lognormal(22_000.0, 0.4) as u32;
    scene.hear(wire, 12, page);
}

fn scraper(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let pace = scene.random.lognormal(700.0, 0.8);
    let jitter = scene.random.between(0.02, 0.6);
    scene.say_new(&mut wire, 30, "join", 110);
    while wire.at < scene.length {
        let after = scene.random.jitter(pace, jitter);
        if scene.random.chance(0.2) {
            scene.say_new(&mut wire, after, "profile", 118);
            scene.hear(&wire, 10, 900);
        } else {
            take_page(scene, &mut wire, after);
        }
    }
}

fn fuzzer(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let pace = scene.random.lognormal(250.0, 0.9).max(60.0);
    let refused = scene.random.between(0.5, 0.97);
    while wire.at < scene.length {
        let after = scene.random.exponential(pace).max(1.0) as u64;
        let bytes = scene.random.lognormal(300.0, 1.6).min(60_000.0) as u32;
        if scene.random.chance(refused) {
            scene.refused(&mut wire, after, bytes);
        } else {
            let kind = scene.random.of(&["join", "leave", "chat", "typing", "history", "profile", "presence"]);
            scene.say_new(&mut wire, after, kind, bytes);
        }
    }
}

fn exfiltration(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let every = scene.random.lognormal(55_000.0, 0.5);
    scene.say_new(&mut wire, 400, "join", 110);
    while wire.at < scene.length {
        let after = scene.random.jitter(every, 0.5);
        take_page(scene, &mut wire, after);
        scene.hear(&wire, 400, 30_000);
        if scene.random.chance(0.4) {
            let pause = scene.random.lognormal(9_000.0, 0.7) as u64;
            let bytes = scene.random.whole(110, 260) as u32;
            scene.say_new(&mut wire, pause, "chat", bytes);
        }
    }
}

fn beacon(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let every = scene.random.between(15_000.0, 120_000.0);
    let jitter = scene.random.of(&[0.001, 0.01, 0.1, 0.3]);
    let encrypted = scene.random.chance(0.5);
    let bytes = scene.random.whole(110, 300) as u32;
    while wire.at < scene.length {
        let after = scene.random.jitter(every, jitter);
        if encrypted {
            scene.say_new(&mut wire, after, "chat", bytes);
        } else {
            scene.say(&mut wire, after, "chat", bytes, 7);
        }
        if scene.random.chance(0.1) {
            scene.hear(&wire, 50, 600);
        }
    }
}

fn stuffing(scene: &mut Scene) {
    let networks = scene.random.whole(2, 12) as u32;
    let pace = scene.random.lognormal(900.0, 0.6);
    let good = scene.random.between(0.005, 0.02);
    let mut at = 0;
    while at < scene.length {
        at += scene.random.exponential(pace) as u64 + 1;
        let prefix = 100 + scene.random.whole(1, u64::from(networks)) as u32;
        if !scene.random.chance(good) {
            scene.push(&Wire { connection: 0, prefix, at }, What::CredentialRefused);
            continue;
        }
        scene.subject += 1;
        let mut wire = scene.connect(at, prefix, "user");
        for _ in 0..scene.random.whole(3, 8) {
            let after = scene.random.lognormal(60.0, 0.4) as u64;
            scene.say_new(&mut wire, after, "profile", 118);
            scene.hear(&wire, 10, 1_500);
        }
        take_page(scene, &mut wire, 60);
        scene.gone(&wire);
    }
}

fn shared(scene: &mut Scene) {
    let people = scene.random.whole(8, 60);
    let whole = scene.length;
    for person in 0..people {
        let from = scene.random.whole(0, whole / 2);
        let till = (from + scene.random.lognormal(900_000.0, 0.7) as u64).min(whole);
        let mut wire = scene.connect(from, 200 + person as u32, "user");
        scene.say_new(&mut wire, 200, "join", 110);
        take_page(scene, &mut wire, 80);
        while wire.at < till {
            let after = scene.random.lognormal(20_000.0, 0.9) as u64;
            let bytes = scene.random.whole(100, 300) as u32;
            scene.say_new(&mut wire, after, "chat", bytes);
        }
        scene.gone(&wire);
    }
}

fn replay(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let tape: Vec<(&'static str, u32, u64, u64)> = (0..scene.random.whole(8, 80))
        .map(|_| {
            let kind = scene.random.of(&["chat", "chat", "chat", "typing", "history", "join"]);
            let bytes = scene.random.whole(100, 260) as u32;
            (kind, bytes, scene.random.next(), scene.random.lognormal(9_000.0, 0.9) as u64)
        })
        .collect();
    let speed = scene.random.between(2.0, 20.0);
    let with_ids = scene.random.chance(0.5);
    let mut first = true;
    while wire.at < scene.length {
        for (kind, bytes, payload, gap) in &tape {
            let after = (*gap as f64 / speed) as u64;
            if with_ids && !first {
                wire.at += after;
                scene.push(&wire, What::Duplicate { bytes: *bytes });
            } else {
                scene.say(&mut wire, after, kind, *bytes, *payload);
            }
        }
        first = false;
    }
}

fn flood(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let pace = 1_000.0 / scene.random.lognormal(80.0, 0.6);
    let bytes = scene.random.whole(100, 2_000) as u32;
    let same = scene.random.chance(0.5);
    let mut credit = 60.0_f64;
    // A few minutes are enough for what a flood wants.
    while wire.at < scene.length.min(300_000) {
        let after = scene.random.exponential(pace) as u64;
        credit = (credit + after as f64 * 0.02).min(60.0);
        if credit < 1.0 {
            scene.refused(&mut wire, after, bytes);
            continue;
        }
        credit -= 1.0;
        if same {
            scene.say(&mut wire, after, "chat", bytes, 3);
        } else {
            scene.say_new(&mut wire, after, "chat", bytes);
        }
        scene.hear(&wire, 3, bytes);
    }
}

fn low_and_slow(scene: &mut Scene) {
    let mut wire = scene.connect(0, 1, "user");
    let every = scene.random.lognormal(32_000.0, 0.4);
    scene.say_new(&mut wire, 700, "join", 110);
    while wire.at < scene.length {
        let after = scene.random.jitter(every, 0.6);
        if scene.random.chance(0.93) {
            scene.refused(&mut wire, after, 124);
        } else {
            scene.say_new(&mut wire, after, "redeem", 124);
        }
        if scene.random.chance(0.5) {
            let pause = scene.random.lognormal(6_000.0, 0.8) as u64;
            let bytes = scene.random.whole(100, 260) as u32;
            scene.say_new(&mut wire, pause, "chat", bytes);
        }
    }
}

fn takeover(scene: &mut Scene) {
    chatter(scene);
    let at = scene.random.whole(scene.length / 6, scene.length / 2);
    scene.events.retain(|event| event.at < at || matches!(event.what, What::Sent { .. }));
    scene.attack_at = at;
    let mut wire = Wire { connection: 1, prefix: 1, at };
    let pace = scene.random.lognormal(900.0, 0.6);
    while wire.at < scene.length {
        let after = scene.random.jitter(pace, 0.3);
        match scene.random.whole(0, 9) {
            0..=4 => take_page(scene, &mut wire, after),
            5..=7 => {
                scene.say_new(&mut wire, after, "profile", 118);
                scene.hear(&wire, 10, 900);
            }
            8 => scene.refused(&mut wire, after, 140),
            _ => scene.say(&mut wire, after, "chat", 230, 11),
        }
    }
}
