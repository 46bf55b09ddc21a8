package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	uuids   = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
	numbers = regexp.MustCompile(`[0-9]+`)
)

// fingerprint returns eight digits that are the same for instances that failed alike: of the error's text without the
// instance's key, ids, positions and other numbers. Which input failed is not part of it.
func fingerprint(key string, err error) string {
	var step *StepError
	if errors.As(err, &step) && step.Err != nil {
		err = step.Err
	}
	text := withoutWord(err.Error(), key)
	text = uuids.ReplaceAllString(text, "#")
	text = numbers.ReplaceAllString(text, "#")
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// withoutWord replaces a word in a text where it stands by itself.
func withoutWord(text, word string) string {
	if word == "" {
		return text
	}
	var b strings.Builder
	for rest := text; ; {
		at := strings.Index(rest, word)
		if at < 0 {
			b.WriteString(rest)
			return b.String()
		}
		before, _ := utf8.DecodeLastRuneInString(text[:len(text)-len(rest)+at])
		after, _ := utf8.DecodeRuneInString(rest[at+len(word):])
		b.WriteString(rest[:at])
		if inWord(before) || inWord(after) {
			b.WriteString(word)
		} else {
			b.WriteByte('#')
		}
		rest = rest[at+len(word):]
	}
}

func inWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }
