#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    pubsub_fuzz::urls(input);
});
