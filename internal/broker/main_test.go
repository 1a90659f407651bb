package broker

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or what a test asked this binary to be (see children).
func TestMain(m *testing.M) {
	if child := children[os.Getenv(childVariable)]; child != nil {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// childVariable names the child that this binary is to be.
const childVariable = "OEI_MS_TEST_CHILD"

// children are programs that tests start from their own binary, in order to kill them. Each returns
// its exit code.
var children = map[string]func() int{}
