//! Which prompt a picture shows, by the cosine of their embeddings: R@1 is the share of pictures
//! whose own prompt is the nearest. [Poole22] section 4

/// The row of `prompts` `[P, D]` nearest by cosine to each row of `pictures` `[N, D]`; of equally
/// near ones the first. Rows of zeros are far from everything.
pub fn nearest(pictures: &[f32], prompts: &[f32], width: usize) -> Vec<usize> {
    if width == 0 {
        return vec![];
    }
    let norm = |row: &[f32]| dot(row, row).sqrt();
    let norms: Vec<f64> = prompts.chunks_exact(width).map(norm).collect();
    let best = |picture: &[f32]| {
        let rows = prompts.chunks_exact(width).zip(&norms).enumerate();
        let scored = rows.map(|(i, (prompt, norm))| (i, dot(picture, prompt) / norm.max(1e-12)));
        let better =
            |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
        scored.fold((0, f64::NEG_INFINITY), better).0
    };
    pictures.chunks_exact(width).map(best).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_does_not_count_and_the_first_of_equals_wins() {
        let prompts = [1.0, 0.0, 0.0, 10.0, 0.0, 1.0, 0.0, 0.0];
        let pictures = [0.1, 0.05, 3.0, 4.0, -1.0, -1.0];
        assert_eq!(nearest(&pictures, &prompts, 2), [0, 1, 3]);
        assert!(nearest(&[], &prompts, 2).is_empty());
    }
}
