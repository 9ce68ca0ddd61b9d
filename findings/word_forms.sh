#!/usr/bin/env bash
# Surprise: the tables that give English words their forms hold forms that are none. LemmInflect takes "sting"
# for the -ing form of the verb "sting" (not "stinging"), and compares "free" as freeer, freeest. WordNet's
# list of irregular adjectives says that "offer" is the comparative of "off", so whatever looks words up by
# WordNet's rules (NLTK's morphy) makes "off" of "offer".
# Package: lemminflect 0.2.3; WordNet 3.0 (Debian's wordnet-base, fetched without installing it: needs apt-get
# and dpkg)
# Why it matters: word games decide by such tables what counts as saying the secret word. "It was stinging"
# slips through and "I offer you a deal" loses the game: rewards that a learner finds before its authors do.
# What we do: the tables are merged, regular forms are added where a table lists a word without an ending, and
# pairs that are no forms are taken out by name.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q lemminflect==0.2.3
venv/bin/python - <<'PYTHON'
import importlib.metadata

from lemminflect import getAllInflections

print("lemminflect", importlib.metadata.version("lemminflect"))
for word, part, tag, right in (
    ("sing", "VERB", "VBG", "singing"),
    ("sting", "VERB", "VBG", "stinging"),
    ("free", "ADJ", "JJR", "freer"),
    ("free", "ADJ", "JJS", "freest"),
):
    print(f"{word} {tag}: expected {right}, seen", *getAllInflections(word, part)[tag])
assert getAllInflections("sting", "VERB")["VBG"] == ("sting",), "the behaviour is gone"
assert getAllInflections("free", "ADJ")["JJR"] == ("freeer",), "the behaviour is gone"
PYTHON
chmod 755 "$work" # apt-get fetches as a user of its own
apt-get download -q wordnet-base >log 2>&1 || { cat log >&2; exit 1; }
dpkg -x wordnet-base_*.deb wordnet
echo "wordnet-base $(dpkg-deb -f wordnet-base_*.deb Version)"
echo "adj.exc, lines of \"offer\": expected none, seen: $(grep '^offer ' wordnet/usr/share/wordnet/adj.exc | paste -sd ';')"
grep -qx "offer off" wordnet/usr/share/wordnet/adj.exc || { echo "the behaviour is gone" >&2; exit 1; }
