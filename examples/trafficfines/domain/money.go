package domain

import (
	"fmt"
	"strconv"
	"strings"
)

// Cents is an amount of money in hundredths of a euro.
type Cents int64

// ParseCents reads a decimal number of euros with at most two digits behind the point, exactly: "31.3" is 3130.
func ParseCents(s string) (Cents, error) {
	whole, fraction, point := strings.Cut(s, ".")
	digits := strings.TrimPrefix(whole, "-")
	if digits == "" || strings.ContainsFunc(digits+fraction, notDigit) || point && fraction == "" || len(fraction) > 2 || len(digits) > 15 {
		return 0, fmt.Errorf("%q is no amount in euros, such as 31.3 or 62.59", s)
	}
	n, err := strconv.ParseInt(digits+(fraction + "00")[:2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount in euros: %w", s, err)
	}
	if digits != whole {
		n = -n
	}
	return Cents(n), nil
}

func notDigit(r rune) bool { return r < '0' || '9' < r }

// String returns the amount in euros: 3130 is "31.30".
func (c Cents) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%02d", sign, c/100, c%100)
}
