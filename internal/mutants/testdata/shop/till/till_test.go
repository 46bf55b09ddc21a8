package till

import "testing"

func TestG1_PaysOnce(t *testing.T) {
	till := Till{paid: map[string]bool{}}
	till.Pay("a", 7)
	till.Pay("a", 7)
	if till.sum != 7 {
		t.Fatalf("sum is %d", till.sum)
	}
}

func TestNothing(*testing.T) {}

func TestAlwaysRed(t *testing.T) { t.Fatal("red") }
