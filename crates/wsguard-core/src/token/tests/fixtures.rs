//! Keys and tokens that were not made here: published ones from the RFCs, and tokens that Python's `cryptography` 48
//! signed with those keys over `{"sub":"ann","exp":1700000900,"iat":1700000000,"roles":["editor"],"scope":"read write"}`.

/// RFC 8037 §A.1.
pub(in crate::token) const ED25519_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
-----END PRIVATE KEY-----\n";

/// RFC 8037 §A.2.
pub(in crate::token) const ED25519_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
-----END PUBLIC KEY-----\n";

/// RFC 7515 §A.3.1.
pub(in crate::token) const P256_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff\n\
H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp\n\
7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt\n\
-----END PRIVATE KEY-----\n";

/// The public part of [`P256_PRIVATE`].
pub(in crate::token) const P256_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n\
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n\
-----END PUBLIC KEY-----\n";

/// The public part of RFC 7515 §A.2.1.
pub(in crate::token) const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj\n\
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz\n\
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo\n\
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB\n\
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX\n\
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\n\
oQIDAQAB\n\
-----END PUBLIC KEY-----\n";

/// An RSA key of 1,024 bits.
pub(in crate::token) const RSA_1024_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC9XNkxDtepLDNEqlAz2eF/LhVY\n\
yAAxjkHAHwCbQOs20Bis9N8nzxDvk1JdyMqbBwA0TIACPOw3zGpTqEXUK8cAET6b\n\
0mK9KCg8VEChi66GW8tDbCjgpJEsLm7RXz0349miR5d5S5uJDwPgBU3T+mGnyhtJ\n\
bcVPYqrjO6CA13VRgwIDAQAB\n\
-----END PUBLIC KEY-----\n";

/// [`RSA_PUBLIC`] with the exponent 1: every message is its own signature.
pub(in crate::token) const RSA_EXPONENT_1: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAofgWCuLjybRlzo0tZWJj\n\
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz\n\
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo\n\
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB\n\
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX\n\
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\n\
oQIBAQ==\n\
-----END PUBLIC KEY-----\n";

/// [`RSA_PUBLIC`] with an even exponent, which no key can have.
pub(in crate::token) const RSA_EXPONENT_EVEN: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj\n\
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz\n\
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo\n\
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB\n\
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX\n\
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\n\
oQIDAQAA\n\
-----END PUBLIC KEY-----\n";

/// A P-384 key.
pub(in crate::token) const P384_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEx+aqs+B6sYR9GFl6JmjuCPHOcyCJJjhN\n\
do9cx6eyIBsbZy5PiF4A1rqq2jHrw3T/CquuMZtyuaV/z1kVCJutlkm8cF3jfN+r\n\
fSrD+b7dbO3fDqlnyKf1ASYhbA14ncYW\n\
-----END PUBLIC KEY-----\n";

/// RFC 7515 §A.1.1.
pub(in crate::token) const HS256_SECRET: &str =
    "wsguard-hs256:AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\n";

/// The whole token of RFC 7515 §A.1.1.
pub(in crate::token) const RFC7515_HS256: &str = concat!(
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9",
    "leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
);

/// The whole token of RFC 7515 §A.2.1.
pub(in crate::token) const RFC7515_RS256: &str = concat!(
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19",
    "yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt",
    "_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb",
    "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI",
    "8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
);

/// The whole token of RFC 7515 §A.3.1.
pub(in crate::token) const RFC7515_ES256: &str = concat!(
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19",
    "yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU",
    "1Q",
);

/// The whole JWS of RFC 8037 §A.4; its payload is text, not claims.
pub(in crate::token) const RFC8037_EDDSA: &str = concat!(
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6",
    "dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
);

/// Signed by [`HS256_SECRET`].
pub(in crate::token) const PYTHON_HS256: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDAsImlhdCI6MTcwMDAwMDAwMCw",
    "icm9sZXMiOlsiZWRpdG9yIl0sInNjb3BlIjoicmVhZCB3cml0ZSJ9.e56nmQxK9jSx8S3XsH1_gJZcguxxdXkdRVlRCozwGDU",
);

/// Signed by [`ED25519_PRIVATE`].
pub(in crate::token) const PYTHON_EDDSA: &str = concat!(
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDAsImlhdCI6MTcwMDAwMDAwMCw",
    "icm9sZXMiOlsiZWRpdG9yIl0sInNjb3BlIjoicmVhZCB3cml0ZSJ9.GxqDXVg4oMsxtJj2XMeGQ7CBVsUxT1evvwlq2Cuh3o5xtw",
    "Dy6Kl3Li822_G13_1p98LjnWpgv-OllyCH4s84CQ",
);

/// Signed by [`P256_PRIVATE`]; its `s` lies in the lower half.
pub(in crate::token) const PYTHON_ES256: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDAsImlhdCI6MTcwMDAwMDAwMCw",
    "icm9sZXMiOlsiZWRpdG9yIl0sInNjb3BlIjoicmVhZCB3cml0ZSJ9.XE6iESeICak9Tf8xL3JwvCeZpsNYab0kVzLiT5QMLMkH3-",
    "u-SnU3xJPIQGXLjtTQTrDt3YZBeFT-CoFCcikGHA",
);

/// The twin `(r, n - s)` of [`PYTHON_ES256`].
pub(in crate::token) const PYTHON_ES256_TWIN: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDAsImlhdCI6MTcwMDAwMDAwMCw",
    "icm9sZXMiOlsiZWRpdG9yIl0sInNjb3BlIjoicmVhZCB3cml0ZSJ9.XE6iESeICak9Tf8xL3JwvCeZpsNYab0kVzLiT5QMLMn4IB",
    "RAtYrIPGw3v5o0cSsvbjYM0CDWJi_1r0mAijofNQ",
);

/// [`PYTHON_ES256`] with its signature in DER.
pub(in crate::token) const PYTHON_ES256_DER: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDAsImlhdCI6MTcwMDAwMDAwMCw",
    "icm9sZXMiOlsiZWRpdG9yIl0sInNjb3BlIjoicmVhZCB3cml0ZSJ9.MEQCIFxOohEniAmpPU3_MS9ycLwnmabDWGm9JFcy4k-UDC",
    "zJAiAH3-u-SnU3xJPIQGXLjtTQTrDt3YZBeFT-CoFCcikGHA",
);

/// Signed by the private part of [`RSA_PUBLIC`].
pub(in crate::token) const PYTHON_RS256: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDAsImlhdCI6MTcwMDAwMDAwMCw",
    "icm9sZXMiOlsiZWRpdG9yIl0sInNjb3BlIjoicmVhZCB3cml0ZSJ9.ard6RRF_oxbrkNgMOJFiklwpdxAUBw9ni2ZngxPTsfREPM",
    "kgDDpU-sCIcImmNx8M6Z8PfEnFrrC3kHWeZ5nq5UGSmyOxVnl4EpOUVfRqyamVKmoT4ponDjyL5YyIfLCOxzKe-l607gZ30PeBQ2",
    "Prm8LL1IMBFhW2FLF6Il0fap4aY3-LPoaXArS41qR6sW7OhSWzTJW7GHmI2v3jywAuLQTrk608uaATWyR9fjVkcERm32zmpZEGGw",
    "qF7CuijWIb-xiuwEO5xANloPzOfRNPMdxzw1GArzUS8YBJxCCPYhu9erHiYh3liMtB8P_B7fDOSfEPskZ4_nOdpUllWQA7gA",
);

/// The same with PSS padding, but `RS256` in its header.
pub(in crate::token) const PYTHON_RS256_PSS: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDA5MDAsImlhdCI6MTcwMDAwMDAwMCw",
    "icm9sZXMiOlsiZWRpdG9yIl0sInNjb3BlIjoicmVhZCB3cml0ZSJ9.VO9ABm25-ttuB6eiy5CFJIK0ogWW4QboGg1Taff2d3Do-G",
    "CJjygMgXsx5kMpMO7ZDN_n-v3Hqit2P02C8Pg8hPxfotmSa-vNlu4X3cqNrwGJXTMaavaDQXPTfJzURB0vCdTeBAGiD9cRIaUqMQ",
    "6tsRGkWoN_upJXOa4Z_Gvi84u8mXmj-4NLvCLxSmla6CGgTbBE6LVcq56sx5UfQUm1cJDukHjrtHdEtLKQVYguhxfnSmhhN0FaFv",
    "8na0fisQXaXn8EtWbacZjQW-rMpBl6MGo7zhkYTJx8RPsxTn-pJtnxv_vc-IoW3JuN8MG_O8Zpsa7KghsRlL3Nn49VEmz43Q",
);
