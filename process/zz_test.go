package process
import ("testing";"fmt";"os";"strconv")
func TestZZ(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("S"),10,64)
	s := newSimulation(simOptions{seed: seed, actions: simLength})
	fmt.Println(s.run(), s.weights)
	for _, l := range s.trace { fmt.Println(l) }
}
