package server

import (
	"net/http"
	"strings"

	"github.com/oei-ms/oei-ms/internal/cache"
)

// streamedResponse writes the answer of an operation that does not use the generated types, because
// its JSON is written by hand or it is a file. The generated code wants a method for each
// operation.
type streamedResponse func(w http.ResponseWriter) error

// VisitExportReadingsResponse writes the answer.
func (f streamedResponse) VisitExportReadingsResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetDownsampledReadingsResponse writes the answer.
func (f streamedResponse) VisitGetDownsampledReadingsResponse(w http.ResponseWriter) error {
	return f(w)
}

// VisitGetHistoryResponse writes the answer.
func (f streamedResponse) VisitGetHistoryResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetStatisticsResponse writes the answer.
func (f streamedResponse) VisitGetStatisticsResponse(w http.ResponseWriter) error { return f(w) }

// VisitListLatestReadingsResponse writes the answer.
func (f streamedResponse) VisitListLatestReadingsResponse(w http.ResponseWriter) error {
	return f(w)
}

// VisitListReadingsResponse writes the answer.
func (f streamedResponse) VisitListReadingsResponse(w http.ResponseWriter) error { return f(w) }

// jsonResponse writes body as JSON.
func jsonResponse(body []byte) streamedResponse {
	return func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write(body)
		return err
	}
}

// listResponse writes a page of a list, with the Link to the next page if there is one.
func listResponse(body []byte, link *string) streamedResponse {
	return func(w http.ResponseWriter) error {
		if link != nil {
			w.Header().Set("Link", *link)
		}
		return jsonResponse(body)(w)
	}
}

// taggedResponse writes a as JSON. When its range is closed it has an ETag, and a client that sends
// the tag is answered with 304.
func taggedResponse(a cache.Answer, isClosed bool, ifNoneMatch *string) streamedResponse {
	if !isClosed {
		return jsonResponse(a.Body)
	}
	return func(w http.ResponseWriter) error {
		w.Header().Set("ETag", a.ETag)
		w.Header().Set("Cache-Control", "private, no-cache") // a late reading may change the answer
		if strings.Contains(orZero(ifNoneMatch), a.ETag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		return jsonResponse(a.Body)(w)
	}
}
