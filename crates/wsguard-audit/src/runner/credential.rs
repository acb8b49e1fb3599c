//! The credential of a run: found where it was given, and kept from a server that may be an impostor.

use std::sync::Arc;

use crate::probe::Shared;
use crate::probe::budget::{Budget, Limits};
use crate::target::Options;

/// Where the credential was given in a header, the cookie or the URL, remembers its places as `{token}`.
pub(crate) fn find_token(options: &mut Options) {
    if options.token.is_none() {
        let bearer = options.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let from_header = bearer.and_then(|(_, value)| value.split_once(' ')).map(|(_, token)| token.trim().to_owned());
        // Of several cookies the one with the longest value is the credential; what is no pair is one as a whole.
        let from_cookie = options.cookie.as_ref().map(|cookie| {
            let values = cookie.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned()));
            values.max_by_key(String::len).unwrap_or_else(|| cookie.trim().to_owned())
        });
        options.token = from_header.or(from_cookie).filter(|token| !token.is_empty() && !token.contains("{token}"));
    }
    let Some(token) = options.token.clone() else { return };
    let places = options.headers.iter_mut().map(|(_, value)| value).chain(options.cookie.as_mut());
    for place in places.chain(&mut options.subprotocols) {
        *place = place.replace(&token, "{token}");
    }
    // A short token may stand in a host or a path by chance: there it counts as a whole part alone.
    let is_mark = |letter: char| "/?&=:@".contains(letter);
    options.url = options
        .url
        .split_inclusive(is_mark)
        .map(|part| {
            let word = part.trim_end_matches(is_mark);
            let rest = part.strip_prefix(word).unwrap_or_default();
            let is_name = rest.starts_with([':', '@']) || !rest.is_empty() && rest.starts_with('=');
            if word == token && !is_name { format!("{{token}}{rest}") } else { part.to_owned() }
        })
        .collect();
}

/// A server that may be an impostor is not shown a credential.
pub(crate) fn without_secrets(shared: &Arc<Shared>, limits: Limits, _why: &str) -> Arc<Shared> {
    let mut options = shared.options.clone();
    options.token = None;
    options.token_b = None;
    options.expired_token = None;
    options.foreign_token = None;
    options.cookie = None;
    options.headers.retain(|(_, value)| !value.contains("{token}"));
    options.subprotocols.retain(|entry| !entry.contains("{token}"));
    let budget = Budget::new(limits, options.pace);
    Arc::new(Shared::new(shared.target.clone(), options, budget))
}
