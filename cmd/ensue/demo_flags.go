package main

// longFlags lets long flags be written with one dash, as Go programs do: -kill is --kill. A flag of one letter stays what
// it is, and so does everything behind "--".
func longFlags(args []string) []string {
	long := make([]string, len(args))
	copy(long, args)
	for i, a := range long {
		if a == "--" {
			break
		}
		if len(a) > 2 && a[0] == '-' && 'a' <= a[1] && a[1] <= 'z' {
			long[i] = "-" + a
		}
	}
	return long
}
