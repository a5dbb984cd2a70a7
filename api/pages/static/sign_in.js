// A link from a mail or another site comes without the cookie (SameSite=Strict). Who is signed in
// already goes on from here, where the cookie is sent.
const wanted = document.querySelector('input[name=next]').value;
const isOwn = /^\/(?![/\\])/.test(wanted);
fetch('/whoami').then((answer) => (answer.ok ? answer.json() : null)).then((reader) => {
  if (reader?.name && reader.name !== 'local') window.location.replace(isOwn && wanted !== '/' ? wanted : reader.home);
});
