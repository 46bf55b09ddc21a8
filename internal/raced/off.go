//go:build !race

// Package raced says whether the race detector is on, under which code takes five to ten times as long. It is for tests.
package raced

// On says that the race detector is on.
const On = false

// Fewer is n, or an eighth of it where the race detector is on.
func Fewer(n int) int { return n }
