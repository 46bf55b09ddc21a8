//go:build race

package raced

// On says that the race detector is on.
const On = true

// Fewer is n, or an eighth of it where the race detector is on.
func Fewer(n int) int { return max(1, n/8) }
