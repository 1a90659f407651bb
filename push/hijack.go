package push

import (
	"bufio"
	"net"
	"net/http"

	"github.com/oei-ms/oei-ms/internal/bufconn"
)

// sendBuffer is how much the kernel may hold for one client: enough for a distant one, and little
// enough that a client which does not read is noticed soon.
const sendBuffer = 64 << 10

// hijacker hands the upgrader a buffered connection in place of the server's.
type hijacker struct{ http.ResponseWriter }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	under := conn
	for {
		wrapper, ok := under.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		under = wrapper.NetConn()
	}
	if tcp, ok := under.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	return bufconn.New(conn), buffers, nil
}
