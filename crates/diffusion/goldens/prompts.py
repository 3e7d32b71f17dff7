"""A thousand prompts that reach every corner of CLIP's tokenizer, the same in every run."""

import random

ENGLISH = (
    "a an the of in on with and under over cyborg tiger astronaut horse castle river mountain portrait oil painting "
    "watercolor photograph cinematic lighting highly detailed sharp focus trending concept art by studio golden hour "
    "red green blue small tiny giant ancient futuristic neon city street night rain snow forest ocean whale dragon "
    "robot cat dog bird flower glass marble bronze ukiyo-e baroque minimalist isometric 3d render octane unreal-engine "
    "bokeh f/1.8 35mm 4k 8K HDR masterpiece award-winning style-of van_gogh cyborg_tiger low-poly close-up"
).split()
CHINESE = "一只红色的老虎 在雪地里奔跑 水彩画 赛博朋克城市 夜景 金色的阳光 穿宇航服的猫 油画 高清 细节丰富 龙 山水 墨 竹子 和 与 中国风 𠮷野家 豈"
CHINESE = CHINESE.split()
OTHERS = (
    "サイバーパンクの虎 ネコ ひらがな 한국어 호랑이 그림 тигр в снегу Ёлка نمر في الثلج बाघ हिन्दी ไทยเสือ τίγρης ΟΔΥΣΣΕΥΣ "
    "ΣΑΣ İstanbul ışık ſtraße Straße ﬁne ﬂame Ǆungla café naïve Ångström Å é ṩ ạ̈ ｆｕｌｌｗｉｄｔｈ ①② Ⅷ ½ ² ٣٤ 𝒜𝓇𝓉 ﷺ"
).split()
EMOJI = "🐯 🚀 🎨 👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🇨🇳 👍🏽 ❤️ ☃ 🧑🏿‍🎤 😀😀😀 ✨ 5️⃣ ™ 🏴󠁧󠁢󠁳󠁣󠁴󠁿".split()
MARKS = [", ", ". ", "! ", "!!! ", "? ", " - ", " (", ") ", ": ", "; ", " | ", "/", "'s ", "'S ", "'ll ", "n't ", "…", "—", "，", "。", "、"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u200b", "\u200d", "\ufeff", "\x00", "\x07", "\x85", "\ufffd"]
ODD = [
    "", " ", "\n\n", "!", "!!!!", "hello!", "a!b", "'", "''s", "'s's", "it's John's dog, they're we'll I'm you'd can't",
    "<|startoftext|>", "<|endoftext|>", "a<|endoftext|>b", "A <|ENDOFTEXT|> b", "<|startoftext|><|endoftext|>",
    "<|endoftext", "|endoftext|>", "<|EndOfText|>x", "1234567890", "1,000.50", "a1b2c3", "((masterpiece:1.2))",
    "https://example.com/a?b=c&d=%20", "a" * 300, "老虎" * 120, "🐯" * 90, "x " * 100, "e\u0301" * 100, "tiger" * 60,
    "\u0301a", "a \u0301b", "한\u1100\u1161\u11a8", "\u0958\u095c", "\u212b\u2126", "ΑΣ ΑΣ. ΑΣ", "i̇İI", "\ue000 private",
    "9" * 80, "!" * 80, "-" * 200, "no_spaces_" * 30, "ツ¯\\_(ツ)_/¯", "x\u2028y\u2029z", "a\u000bb\u000cc\u001fd", "\u180etext",
]  # fmt: skip


def _plain(rng: random.Random, words: list[str], count: int) -> str:
    return " ".join(rng.choice(words) for _ in range(count))


def _mixed(rng: random.Random, count: int) -> str:
    text = ""
    for _ in range(count):
        word = rng.choice(rng.choice([ENGLISH, ENGLISH, CHINESE, OTHERS, EMOJI]))
        word = rng.choice([str, str, str.upper, str.title])(word)
        text += word + rng.choice(rng.choice([SPACES[:1], SPACES[:1], SPACES, MARKS, [""]]))
    return text


def prompts() -> list[str]:
    rng = random.Random(20)
    found = list(ODD)
    found += [_plain(rng, ENGLISH, rng.randint(1, 30)) for _ in range(240)]
    found += ["".join(rng.choice(CHINESE) for _ in range(rng.randint(1, 12))) for _ in range(120)]
    found += [_plain(rng, CHINESE + EMOJI, rng.randint(1, 10)) for _ in range(80)]
    found += [_plain(rng, OTHERS, rng.randint(1, 8)) for _ in range(100)]
    found += [_mixed(rng, rng.randint(60, 120)) for _ in range(100)]
    found += [_mixed(rng, rng.randint(1, 25)) for _ in range(1000 - len(found))]
    return found
