//! Secrets that people choose, for signatures that can be tried without the network.

use super::jwt::Jwt;

/// Words from tutorials, examples and default configurations.
const WORDS: &str = "secret secretkey secret_key secret-key mysecret my_secret my-secret mysecretkey my_secret_key my-secret-key \
supersecret super_secret super-secret supersecretkey super_secret_key super-secret-key topsecret top_secret top-secret \
verysecret very_secret very-secret verysecretkey jwt jwtsecret jwt_secret jwt-secret jwtsecretkey jwt_secret_key \
jwt-secret-key jwtkey jwt_key jwt-key myjwtsecret my_jwt_secret my-jwt-secret token tokensecret token_secret token-secret \
accesstoken access_token access-token accesstokensecret access_token_secret access-token-secret refreshtokensecret \
refresh_token_secret refresh-token-secret key mykey my_key my-key privatekey private_key private-key publickey \
signingkey signing_key signing-key signature hmac hmacsecret hmac_secret hs256 hs256secret sha256 password passw0rd \
password1 password123 pass pass123 passphrase letmein welcome admin admin123 administrator root toor default changeme \
change_me change-me changeit change-this change_this changethis change-this-secret change_this_secret changethissecret \
change-me-in-production change_me_in_production changemeinproduction replaceme replace_me replace-me replace-this \
your-secret your_secret yoursecret your-secret-key your_secret_key yoursecretkey your-256-bit-secret your-384-bit-secret \
your-512-bit-secret your-jwt-secret your_jwt_secret yourjwtsecret your-super-secret your-super-secret-key \
your-secret-here your_secret_here your-secret-key-here your_secret_key_here your_jwt_secret_key your-jwt-secret-key \
a-string-secret-at-least-256-bits-long a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long \
test test123 testing testkey test_key test-key testsecret test_secret test-secret testtoken test_token test-token dev \
development devsecret dev_secret dev-secret dev-secret-key devkey dev_key dev-key local localhost demo demosecret \
example examplekey example_key example-key sample foo bar foobar hello helloworld hello-world hunter2 qwerty qwerty123 \
abc abc123 abcd1234 abcdef 123 1234 12345 123456 1234567 12345678 123456789 1234567890 0123456789 000000 111111 \
0123456789abcdef 0123456789abcdef0123456789abcdef 00000000000000000000000000000000 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
12345678901234567890123456789012 abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz123456 keyboardcat shhhhh shhhh shh \
shhhhhh ssh asdf asdfgh zxcvbn iloveyou monkey dragon football master login user guest public private internal \
production prod staging server client api apikey api_key api-key apisecret api_secret api-secret app appsecret \
app_secret app-secret app_secret_key app-secret-key appkey auth authsecret auth_secret auth-secret authkey auth_key \
session sessionsecret session_secret session-secret cookie cookiesecret cookie_secret cookie-secret nextauth \
nextauth_secret nextauth-secret node nodejs express express-secret socketio socket.io websocket websocket-secret ws ws-secret \
django flask django-insecure rails laravel spring fastapi hasura gitlab github docker kubernetes redis postgres mysql \
mongo mongodb graphql realtime super-secret-jwt-token-with-at-least-32-characters-long this-is-a-secret thisisasecret \
this_is_a_secret this-is-my-secret thisismysecret some-secret some_secret somesecret somesecretkey random randomsecret \
random-secret nosecret no-secret none null undefined empty string";

/// Phrases with spaces, which a list of words cannot hold.
const PHRASES: [&str; 8] = [
    "",
    "keyboard cat",
    "hello world",
    "my secret",
    "my secret key",
    "this is a secret",
    "your secret key",
    "change me",
];

/// Tries the dictionary and its common forms. Returns how many were tried, and the one that fits.
pub(crate) fn search(jwt: &Jwt) -> (usize, Option<String>) {
    let mut count = 0_usize;
    for word in WORDS.split_whitespace().chain(PHRASES) {
        for form in forms(word) {
            count = count.saturating_add(1);
            if jwt.is_signed_with(form.as_bytes()) {
                return (count, Some(form));
            }
        }
    }
    (count, None)
}

fn forms(word: &str) -> Vec<String> {
    let mut letters = word.chars();
    let capital: String = letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
    let mut forms = vec![word.to_owned(), word.to_uppercase(), capital];
    for end in ["!", "1", "123", "2024", "2025", "2026"] {
        forms.push(format!("{word}{end}"));
    }
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::jwt::sign;
    use aws_lc_rs::hmac::HMAC_SHA256;
    use serde_json::json;

    #[test]
    fn common_secrets_are_found_and_random_ones_not() {
        for (secret, want) in [
            ("secret", true),
            ("Your-256-bit-secret", true),
            ("keyboard cat", true),
            ("CHANGEME", true),
            ("q7Zk0vXw1", false),
        ] {
            let token = sign(&json!({"alg": "HS256"}), &json!({"sub": "ann"}), HMAC_SHA256, secret.as_bytes());
            let (count, found) = search(&Jwt::parse(&token).unwrap());
            assert_eq!(found.is_some(), want, "{secret}");
            assert!(want || count > 2_000, "{count}");
        }
    }
}
