//! A text has the same states to the bit in any batch, with any padding, on any number of threads.

use crate::golden::{cases, encode, load, numbers, prompts, values};

#[test]
fn the_batch_changes_nothing() {
    for case in cases() {
        let encoder = load(case);
        let together = encode(&encoder, &prompts());
        let [_, longest, _] = together.states.dims();
        for (i, prompt) in prompts().into_iter().enumerate() {
            let alone = encode(&encoder, &[prompt]).padded_to(longest);
            let states = together.states.clone().narrow(0, i, 1);
            assert_eq!(values(alone.states), values(states), "{case} {i}");
            let mask = together.mask.clone().float().narrow(0, i, 1);
            assert_eq!(values(alone.mask.float()), values(mask), "{case} {i}");
            let pooled = together.pooled.clone().narrow(0, i, 1);
            assert_eq!(values(alone.pooled), values(pooled), "{case} {i}");
        }
    }
}

#[test]
fn texts_of_one_length_share_a_batch_and_change_nothing() {
    for case in cases() {
        let encoder = load(case);
        let several: Vec<String> = ["red", "two", "and", "red"].map(String::from).to_vec();
        let [states, mask, pooled] = numbers(encode(&encoder, &several));
        let alone = several
            .iter()
            .map(|prompt| numbers(encode(&encoder, std::slice::from_ref(prompt))));
        let alone = alone.fold([const { Vec::new() }; 3], |mut all: [Vec<f32>; 3], one| {
            all.iter_mut()
                .zip(one)
                .for_each(|(all, one)| all.extend(one));
            all
        });
        assert_eq!([states, mask, pooled], alone, "{case}");
    }
}

#[test]
fn padding_is_zero_and_masked() {
    for case in cases() {
        let encoder = load(case);
        let found = encode(&encoder, &prompts());
        let [batch, length, width] = found.states.dims();
        let padded = found.clone().padded_to(length + 3);
        assert_eq!(padded.states.dims(), [batch, length + 3, width]);
        let tail = padded.states.clone().narrow(1, length, 3);
        assert!(values(tail).iter().all(|x| *x == 0.0));
        let tail = padded.mask.clone().float().narrow(1, length, 3);
        assert!(values(tail).iter().all(|x| *x == 0.0));
        let head = padded.states.narrow(1, 0, length);
        assert_eq!(values(head), values(found.states.clone()));
        assert_eq!(
            found.clone().padded_to(1).states.dims(),
            [batch, length, width]
        );
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for case in cases() {
        let encoder = load(case);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| numbers(encode(&encoder, &prompts())))
        };
        assert_eq!(run(1), run(3), "{case}");
    }
}
