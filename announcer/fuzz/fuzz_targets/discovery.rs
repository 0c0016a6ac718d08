#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| announcer_fuzz::bounded(|| announcer_fuzz::decoders::discovery(octets)));
