using System;
using System.IO;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Messages;

namespace Musecast.Http
{
    /// <summary>Sends requests, and makes one kind of exception of all that can go wrong.</summary>
    internal sealed class Requests
    {
        private readonly HttpClient _http;

        public Requests(HttpClient http) => _http = http;

        public async Task<Map> JsonAsync(string path, Map body, CancellationToken cancel)
        {
            using var content = new ByteArrayContent(Json.Write(body));
            content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            return await SendAsync(HttpMethod.Post, path, content, cancel).ConfigureAwait(false);
        }

        /// <summary>The result.</summary>
        /// <param name="method">The method.</param>
        /// <param name="path">Below the base address.</param>
        /// <param name="content">The body.</param>
        /// <param name="cancel">Stops it.</param>
        /// <param name="bodyOf">A status that is no error as long as its body says more than an error.</param>
        public async Task<Map> SendAsync(HttpMethod method, string path, HttpContent? content, CancellationToken cancel, int bodyOf = 0)
        {
            using var request = new HttpRequestMessage(method, path) { Content = content };
            using var response = await Answer(request, HttpCompletionOption.ResponseContentRead, cancel).ConfigureAwait(false);
            var body = await Guarded(() => response.Content.ReadAsByteArrayAsync(), cancel).ConfigureAwait(false);
            var map = MapOf(body);
            if (response.IsSuccessStatusCode)
            {
                return map ?? (body.Length == 0 ? new Map() : throw new MusecastException(
                    ErrorCodes.Internal, path + " answers something that is no JSON object: is this address a musecast gateway?"));
            }

            return (int)response.StatusCode == bodyOf && map != null && map.Has("status") ? map : throw Refusal(response, map);
        }

        public async Task<byte[]> BytesAsync(string path, CancellationToken cancel)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            using var response = await Answer(request, HttpCompletionOption.ResponseContentRead, cancel).ConfigureAwait(false);
            var body = await Guarded(() => response.Content.ReadAsByteArrayAsync(), cancel).ConfigureAwait(false);
            return response.IsSuccessStatusCode ? body : throw Refusal(response, MapOf(body));
        }

        public async Task<Stream> StreamAsync(string path, CancellationToken cancel)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            var response = await Answer(request, HttpCompletionOption.ResponseHeadersRead, cancel).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
            {
                // Disposing of the stream ends the connection, and with it the response.
                return await Guarded(() => response.Content.ReadAsStreamAsync(), cancel).ConfigureAwait(false);
            }

            using (response)
            {
                var body = await Guarded(() => response.Content.ReadAsByteArrayAsync(), cancel).ConfigureAwait(false);
                throw Refusal(response, MapOf(body));
            }
        }

        private static Map? MapOf(byte[] body)
        {
            try
            {
                return body.Length == 0 ? null : Json.Read(body) as Map;
            }
            catch (FormatException)
            {
                return null;
            }
        }

        private static MusecastException Refusal(HttpResponseMessage response, Map? body)
        {
            if (body?.Inner("error") is Map error)
            {
                var told = MusecastException.From(error);
                return told.RetryAfter != null || response.Headers.RetryAfter?.Delta is null ? told
                    : new MusecastException(told.Code, told.Reason, response.Headers.RetryAfter.Delta);
            }

            var status = (int)response.StatusCode;
            return new MusecastException(
                status == 502 || status == 503 || status == 504 ? ErrorCodes.NotReady : ErrorCodes.Internal,
                "status " + status + " without the daemon's words: something between answers in its place");
        }

        private Task<HttpResponseMessage> Answer(HttpRequestMessage request, HttpCompletionOption until, CancellationToken cancel) =>
            Guarded(() => _http.SendAsync(request, until, cancel), cancel);

        private async Task<T> Guarded<T>(Func<Task<T>> work, CancellationToken cancel)
        {
            try
            {
                return await work().ConfigureAwait(false);
            }
            catch (Exception error) when (error is HttpRequestException || error is IOException)
            {
                cancel.ThrowIfCancellationRequested();
                throw new MusecastException(
                    ErrorCodes.NotReady,
                    "nothing answers at " + _http.BaseAddress + " (" + error.Message + "): is the daemon running? `musecast up` starts it",
                    null, error);
            }
            catch (OperationCanceledException error) when (!cancel.IsCancellationRequested)
            {
                throw new MusecastException(
                    ErrorCodes.NotReady, "no answer within the HttpClient's timeout of " + _http.Timeout, null, error);
            }
        }
    }
}
