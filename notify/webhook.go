package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const (
	secretPrefix = "whsec_"
	// mostAnswered is how much of an answer is read; none of it is kept.
	mostAnswered = 4 << 10
)

// secretKey is the key that secret stands for.
func secretKey(secret string) ([]byte, error) {
	if strings.HasPrefix(secret, store.EncryptedPrefix) {
		return nil, errors.New("was kept under another SECRET_KEY; give the channel a new one")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil || !strings.HasPrefix(secret, secretPrefix) || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("is not whsec_ and 24 to 64 bytes in base64")
	}
	return key, nil
}

// signature is that of Standard Webhooks: of id, time and body with dots between, by HMAC-SHA256.
func signature(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// webhooks posts to where it may.
type webhooks struct {
	guard  guard
	client *http.Client
}

// newWebhooks makes connections anew each time, since the guard looks at them as they are made, and
// follows nothing: neither redirects nor the proxies of the environment.
func newWebhooks(g guard, timeout time.Duration) *webhooks {
	dialer := &net.Dialer{Timeout: timeout, Control: g.control}
	return &webhooks{guard: g, client: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    timeout,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
		},
	}}
}

// check says what is wrong with the address of a webhook, as far as it shows without a look-up.
func (w *webhooks) check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.Opaque != "":
		return errors.New("is not an http or https address")
	case u.User != nil:
		return errors.New("must not hold a user name or password")
	case u.Fragment != "":
		return errors.New("must not have a fragment")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return errors.New("has a port that is none")
		}
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		return w.guard.check(addr)
	}
	return nil
}

// send posts body to the channel. Anything but a 2xx is an error, which shows neither the address
// nor what was answered.
func (w *webhooks) send(
	ctx context.Context, c store.Channel, id string, body []byte, now time.Time,
) (detail string, err error) {
	key, err := secretKey(c.Secret)
	if err != nil {
		return "", permanent{fmt.Errorf("the secret %w", err)}
	}
	if err := w.check(c.URL); err != nil {
		return "", permanent{fmt.Errorf("the address: %w", err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return "", permanent{errors.New("the address is not one")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "oei-ms")
	req.Header.Set("Idempotency-Key", id)
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", signature(key, id, now, body))
	res, err := w.client.Do(req)
	if err != nil {
		return "", dialError(err)
	}
	defer res.Body.Close()
	// what it says does not matter, the status does
	_, _ = io.CopyN(io.Discard, res.Body, mostAnswered)
	detail = "answered " + strconv.Itoa(res.StatusCode)
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return detail, fmt.Errorf("%s, a redirect, which is not followed", detail)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return detail, errors.New(detail)
	}
	return detail, nil
}

// dialError is err without the address, which may hold a secret.
func dialError(err error) error {
	if errors.Is(err, errForbidden) {
		return permanent{errForbidden}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("not reached: %w", err)
}
