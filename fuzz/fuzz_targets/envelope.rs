#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsguard_fuzz::targets::envelope::run(data));
