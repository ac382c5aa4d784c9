//! Prompts that are empty, long, or in no language that the tokenizer knows.

use burn::tensor::Device;
use dreamsmith_nets::{NetError, Precision, TextEncoder, WeightedPrompt};
use serde_json::Value;
use tempfile::TempDir;

use crate::golden::{FILLED, MASKED, cases, encode, folder, load, numbers, prompts, values};

#[test]
fn what_is_cut_is_named() {
    for case in ["bert", "bert_variant"] {
        let encoder = load(case).with_token_limit(8).unwrap();
        let found = encoder.encode(&["two red", "a red chair and a lamp and two"]);
        let found = found.unwrap();
        assert_eq!(found.states.dims()[1], 8, "{case}");
        let [cut] = &found.cuts[..] else {
            panic!("{case}: {:?}", found.cuts);
        };
        assert_eq!((cut.prompt_idx, cut.n_read, cut.n_cut), (1, 6, 2), "{case}");
        assert_eq!(cut.text, "and two", "{case}");
        let said = cut.to_string();
        assert!(
            said.contains("prompt 2") && said.contains("`and two`"),
            "{said}"
        );

        let short = encoder.encode(&["a red chair and a lamp"]).unwrap();
        let cut = found.states.narrow(0, 1, 1);
        assert_eq!(values(short.states), values(cut), "{case}");
    }
}

#[test]
fn all_that_is_cut_is_named_by_any_tokenizer() {
    for case in MASKED {
        let encoder = load(case).with_token_limit(4).unwrap();
        let found = encoder.encode(&["a red chair, two lamps"]).unwrap();
        let [cut] = &found.cuts[..] else {
            panic!("{case}: {:?}", found.cuts);
        };
        assert!(cut.text.ends_with("two lamps"), "{case}: {cut}");
        assert!(!cut.text.contains("a red"), "{case}: {cut}");
    }
}

#[test]
fn long_prompts_take_several_windows_of_clip() {
    for case in FILLED {
        // Five words and the two tokens around them.
        let encoder = load(case).with_token_limit(7).unwrap();
        let prompts = ["a red chair red a red red chair", "red"];
        let found = encoder.encode(&prompts).unwrap();
        assert!(found.cuts.is_empty(), "{case}");
        assert_eq!(found.states.dims()[1], 14, "{case}");
        let parts = encoder.encode(&["a red chair red a", "red red chair"]);
        let parts = parts.unwrap();
        for i in 0..2 {
            let window = found.states.clone().narrow(0, 0, 1).narrow(1, 7 * i, 7);
            let part = parts.states.clone().narrow(0, i, 1);
            assert_eq!(values(window), values(part), "{case}: window {i}");
        }
        let pooled = [&found, &parts].map(|x| values(x.pooled.clone().narrow(0, 0, 1)));
        assert_eq!(pooled[0], pooled[1], "{case}");
        let mask = values(found.mask.float());
        let wanted = [[1.0; 21].as_slice(), &[0.0; 7]].concat();
        assert_eq!(mask, wanted, "{case}");

        let longest = encoder.encode(&[&"red ".repeat(42)]).unwrap();
        assert_eq!(longest.states.dims()[1], 8 * 7, "{case}");
        assert_eq!(longest.cuts[0].n_cut, 2, "{case}");
        assert_eq!(longest.cuts[0].text, "red red ", "{case}");
    }
}

#[test]
fn the_tokenizer_of_clip_is_read_from_older_files() {
    for case in FILLED {
        let scratch = TempDir::new().unwrap();
        let [encoder, tokenizer] = ["text_encoder", "tokenizer"].map(|n| scratch.path().join(n));
        std::fs::create_dir(&encoder).unwrap();
        std::fs::create_dir(&tokenizer).unwrap();
        for (file, to) in [
            ("config.json", &encoder),
            ("model.safetensors", &encoder),
            ("tokenizer_config.json", &tokenizer),
        ] {
            std::fs::copy(folder(case).join(file), to.join(file)).unwrap();
        }
        let whole = std::fs::read(folder(case).join("tokenizer.json")).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let pairs = whole["model"]["merges"].as_array().unwrap().iter();
        let pairs = pairs.map(|pair| {
            format!(
                "{} {}\n",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            )
        });
        let pairs = format!("#version: 0.2\n{}", pairs.collect::<String>());
        std::fs::write(tokenizer.join("merges.txt"), pairs).unwrap();
        let vocab = whole["model"]["vocab"].to_string();
        std::fs::write(tokenizer.join("vocab.json"), vocab).unwrap();

        for folder in [scratch.path(), &encoder] {
            let older = TextEncoder::load(folder, &Device::flex(), Precision::F32).unwrap();
            let [older, newer] = [older, load(case)].map(|e| numbers(encode(&e, &prompts())));
            assert!(older == newer, "{case}: other states");
        }
    }
}

#[test]
fn limits_that_leave_nothing_are_refused() {
    for case in cases() {
        let most = load(case).token_limit();
        for limit in [0, 1, most + 1] {
            let refused = load(case).with_token_limit(limit);
            assert!(
                matches!(refused, Err(NetError::TokenLimit { found, .. }) if found == limit),
                "{case}: {limit}"
            );
        }
    }
}

#[test]
fn odd_prompts_are_read() {
    let long = "red chair ".repeat(5000);
    let odd = [
        "",
        " \n\t ",
        "🪑🛋️👩‍👩‍👧",
        "红色的椅子",
        "\u{0}\u{feff}\u{202e}",
        "[SEP] [CLS] </s> <|endoftext|>",
        &"x".repeat(100_000),
        &long,
    ];
    for case in cases() {
        let encoder = load(case);
        let found = encoder.encode(&odd).unwrap();
        assert!(values(found.states).iter().all(|x| x.is_finite()), "{case}");
        assert!(values(found.pooled).iter().all(|x| x.is_finite()), "{case}");
        let cut = found.cuts.last().unwrap();
        assert_eq!(cut.prompt_idx, 7, "{case}");
        assert!(cut.text.ends_with("red chair "), "{case}");
        assert!(cut.to_string().len() < 300, "{case}: {cut}");
    }
}

#[test]
fn no_prompt_and_endless_prompts_are_refused() {
    let encoder = load("bert");
    assert!(matches!(encoder.encode(&[]), Err(NetError::Prompt { .. })));
    let endless = "x ".repeat(1 << 20);
    let refused = encoder.encode(&[&endless]);
    assert!(matches!(refused, Err(NetError::LongPrompt { .. })));
}

/// The weighted parts of a prompt.
fn parts(prompt: &str) -> Vec<(String, f32)> {
    let prompt = WeightedPrompt::parse(prompt).unwrap();
    let parts = prompt.parts();
    parts
        .map(|(text, weight)| (text.to_owned(), weight))
        .collect()
}

#[test]
fn weights_are_read() {
    let up = 1.1;
    let cases: [(&str, &[(&str, f32)]); 17] = [
        ("", &[]),
        ("()", &[]),
        ("a red chair", &[("a red chair", 1.0)]),
        (
            "a (red) chair",
            &[("a ", 1.0), ("red", up), (" chair", 1.0)],
        ),
        (
            "a (red:1.3) chair",
            &[("a ", 1.0), ("red", 1.3), (" chair", 1.0)],
        ),
        ("(red: 0.5 )", &[("red", 0.5)]),
        ("[red]", &[("red", 1.0 / up)]),
        ("((red))", &[("red", up * up)]),
        ("((red:2) chair:1.5)", &[("red", 3.0), (" chair", 1.5)]),
        ("([red])", &[("red", up * (1.0 / up))]),
        (r"\(red\) \[a\] \\ \n", &[(r"(red) [a] \ \n", 1.0)]),
        ("(red", &[("red", up)]),
        ("red) chair]", &[("red) chair]", 1.0)]),
        ("(a]b)", &[("a]b", up)]),
        ("(at 10:30:1.2)", &[("at 10:30", 1.2)]),
        ("(ratio 3:x)", &[("ratio 3:x", up)]),
        ("(Stühle:2) 椅子", &[("Stühle", 2.0), (" 椅子", 1.0)]),
    ];
    for (prompt, wanted) in cases {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(text, w)| ((*text).to_owned(), *w))
            .collect();
        assert_eq!(parts(prompt), wanted, "{prompt}");
    }
    assert_eq!(WeightedPrompt::plain("(a:2)").text(), "(a:2)");
}

#[test]
fn weights_out_of_range_are_refused() {
    for prompt in [
        "(red:11)",
        "(red:1e3)",
        "(red:inf)",
        "(red:-1)",
        "(red:NaN)",
        "(red:)",
    ] {
        match WeightedPrompt::parse(prompt) {
            Ok(read) => assert_eq!(read.parts().next().unwrap().1, 1.1, "{prompt}"),
            Err(error) => {
                assert_eq!(prompt, "(red:11)");
                assert!(error.to_string().contains("`red` is 11"), "{error}");
            }
        }
    }
    let deep = format!("{}red", "(".repeat(100_000));
    assert!(matches!(
        WeightedPrompt::parse(&deep),
        Err(NetError::Prompt { .. })
    ));
    let deep = format!("{}red", "[".repeat(100_000));
    assert!(WeightedPrompt::parse(&deep).is_ok());
}

#[test]
fn weights_move_states_about_their_mean() {
    /// Sums of a few numbers of size 1, in another order.
    const TOLERANCE: f32 = 1e-5;
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < TOLERANCE);
    for case in cases() {
        let encoder = load(case);
        let encode = |prompt| {
            let prompt = WeightedPrompt::parse(prompt).unwrap();
            encoder.encode_weighted(&[prompt]).unwrap()
        };
        let plain = encoder.encode(&["a red chair"]).unwrap();
        let one = encode("a (red:1.0) chair");
        assert_eq!(values(one.states), values(plain.states.clone()), "{case}");

        let two = encode("a (red:2) chair");
        let mean = |x: &burn::tensor::Tensor<3>| values(x.clone().mean_dim(1));
        assert!(near(&mean(&two.states), &mean(&plain.states)), "{case}");
        assert_eq!(values(two.pooled), values(plain.pooled), "{case}");

        // What moved beside the common drift: the states of `red`, and only they.
        let moved = two.states - plain.states.clone();
        let drift = moved.clone().narrow(1, 0, 1);
        let moved = moved - drift;
        let [_, length, _] = moved.dims();
        let n_moved = (0..length).filter(|i| {
            values(moved.clone().narrow(1, *i, 1))
                .iter()
                .any(|x| x.abs() > TOLERANCE)
        });
        assert_eq!(n_moved.count(), 1, "{case}");
    }
}
