//! Measures what verifying one token costs, for each algorithm, and what a CSRF token costs.
//!
//! Run: `cargo run --release -p wsguard-core --example token_cost -- KEY...` with key files of `wsguard keygen`. The
//! best of several rounds counts: whatever else the machine does can only add time.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use wsguard_core::time::UnixMs;
use wsguard_core::token::{CsrfKey, KeyRing, MintClaims, SigningKey, TokenPolicy, fingerprint, mint, verify};

const ROUNDS: u32 = 20;
const CALLS: u32 = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let now = UnixMs(1_700_000_000_000);
    let roles = ["editor".to_owned(), "viewer".to_owned()];
    let claims = MintClaims {
        issued_at: Some(now),
        id: Some("0b7c2f1e"),
        roles: &roles,
        scope: Some("read write"),
        ..MintClaims::new("ann@app.example", UnixMs(now.0.saturating_add(900_000)))
    };
    let mut token = String::new();
    for path in std::env::args().skip(1) {
        #[expect(clippy::disallowed_methods, reason = "the core does no I/O, this program does")]
        let file = std::fs::read(&path)?;
        let key = SigningKey::parse(&path, &file)?;
        let ring = KeyRing::new(vec![key.verifying_key().clone()])?;
        let policy = TokenPolicy::default();
        token = mint(&key, &claims)?;
        verify(&ring, &policy, now, &token)?;
        show(&format!("{} verify, {} bytes", key.algorithm(), token.len()), || {
            black_box(verify(&ring, &policy, now, black_box(&token)).is_ok());
        });
        // A good signature, but of another token: it takes the whole arithmetic to refuse.
        let other = mint(&key, &MintClaims { subject: "bob", ..claims.clone() })?;
        let (message, _) = token.rsplit_once('.').unwrap_or_default();
        let (_, signature) = other.rsplit_once('.').unwrap_or_default();
        let forged = format!("{message}.{signature}");
        show(&format!("{} refuse a forgery", key.algorithm()), || {
            black_box(verify(&ring, &policy, now, black_box(&forged)).is_err());
        });
        show(&format!("{} mint", key.algorithm()), || {
            black_box(mint(&key, black_box(&claims)).is_ok());
        });
    }
    let csrf = CsrfKey::new(&[7; 32]);
    let csrf_token = csrf.per_message(&[1; 16], 1);
    show("CSRF compute", || {
        black_box(csrf.per_message(black_box(&[1; 16]), 1));
    });
    show("CSRF compare", || {
        black_box(csrf_token.matches(black_box(csrf_token.as_str())));
    });
    show("fingerprint", || {
        black_box(fingerprint(black_box(&token)));
    });
    Ok(())
}

fn show(name: &str, mut call: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| round(&mut call)).min().unwrap_or_default();
    let micros = best.as_secs_f64() * 1e6 / f64::from(CALLS);
    println!("{name:<32} {micros:>8.3} us");
}

fn round(call: &mut impl FnMut()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the core knows no clock, a measurement must")]
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed()
}
